#!/usr/bin/env bash
# The README's test command.
set -euxo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace
