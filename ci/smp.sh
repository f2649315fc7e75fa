#!/usr/bin/env bash
# 30 s of stress on real CPUs: all kinds of locks, interrupts, callouts and taskqueues at once, with and without checks; then
# scenarios that Linux allows, in a loop, on the mapping that passes them all.
# The seed is printed; SEED=n repeats a run's random choices.
set -euxo pipefail
cd "$(dirname "$0")/.."
seed=${SEED:-$RANDOM}
echo "seed $seed"
LKPI_STRESS_SECONDS=10 LKPI_STRESS_SEED="$seed" cargo test --release -p freebsd-sys --test stress -- --nocapture --test-threads 1
cargo run --release -- compare --engine smp --seconds 4 --seed "$seed" --mapping cpu_mutex \
    dma-resv-fence-callback irq-handler-takes-lock nested-fence-locks
