#!/usr/bin/env bash
# Format, lints and documentation, warnings denied; and do the planted bugs still apply?
set -euxo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
# Planted bugs that no longer fit would go unnoticed until ci/mutants.sh is run.
for patch in ci/mutants/*.patch; do git apply --check "$patch"; done
