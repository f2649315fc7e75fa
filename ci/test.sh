#!/usr/bin/env bash
# The README's test command, and RCU's fallback.
set -euxo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace
# RCU where membarrier(2) is refused: its readers fence for themselves.
LKPI_NO_MEMBARRIER=1 cargo test -p linuxkpi --test rcupdate
