#!/usr/bin/env bash
# The README's first command: every scenario on every mapping; fails if a cell is not as compat-tests/expected.toml says.
set -euxo pipefail
cd "$(dirname "$0")/.."
cargo build --release
time cargo run --release -- compare
time cargo run --release -- compare --cpus 1
