#!/usr/bin/env bash
# Locks and mappings beside their floors and peers: medians over LAUNCHES launches (default 7) in target/bench/summary.json. Disturbed
# launches are repeated; freebsd-sys/benches/harness says what counts as disturbed. About 5 minutes on 2 idle cores.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-$PWD/target}/bench
mkdir -p "$out"
for bench in freebsd-sys:locks linuxkpi:mappings; do
    cargo bench -p "${bench%:*}" --bench "${bench#*:}" -- --launches "${LAUNCHES:-7}" --out "$out/${bench#*:}.json"
done
# Two arrays, one after the other, are one array without the brackets between.
{ sed '$d' "$out/locks.json" | sed '$s/$/,/'; sed 1d "$out/mappings.json"; } > "$out/summary.json"
