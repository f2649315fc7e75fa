#!/usr/bin/env bash
# 30 s of stress on real CPUs: scenarios that Linux allows, in a loop, on the mapping that passes them all and on today's.
# The seed is printed; SEED=n repeats a run's interrupt times.
set -euxo pipefail
cd "$(dirname "$0")/.."
seed=${SEED:-$RANDOM}
echo "seed $seed"
cargo run --release -- compare --engine smp --seconds 10 --seed "$seed" --mapping cpu_mutex \
    dma-resv-fence-callback irq-handler-takes-lock nested-fence-locks
