//! The scenarios, one file each, written once in terms of the Linux API and run over every mapping.

mod aa;
mod abba;
mod callback_frees_memory;
mod critical_before_spinlock;
mod dma_resv_fence_callback;
mod dma_resv_preempt_disabled;
mod driver;
mod fence_lock_dropped;
mod harness;
mod irq_handler_takes_lock;
mod irqsave_out_of_order_release;
mod nested_fence_locks;
mod owner_preempted_same_cpu;
mod preempted_seq_writer;
mod rwlock_inside_rcu;
mod seq_reader_in_critical;
mod seq_reader_leaves_early;
mod seqcount_type_dispatch;
mod sleep_in_critical;
mod sleep_under_spinlock;

use crate::registry::{Cell, Scenario};

/// A scenario on every mapping.
macro_rules! scenario {
    ($module:ident, $name:literal, $about:literal, mainline: $mainline:literal, rt: $rt:literal, $source:literal) => {{
        let mut cells = Vec::new();
        macro_rules! cell {
            ($mapping:ty, $mapping_name:literal) => {
                cells.push(Cell { mapping: $mapping_name, run: &$module::run::<$mapping>, units: &Vec::new });
            };
        }
        linuxkpi::for_each_mapping!(cell);
        Scenario {
            name: $name,
            about: $about,
            source: $source,
            mainline: $mainline,
            rt: $rt,
            with: String::new(),
            cells,
        }
    }};
}

/// A scenario of `suites/c`: there it is `LKPI_SCENARIO(function)`, compiled once per mapping.
fn in_c(function: &str, name: &'static str, about: &'static str, linux: Allowed, source: &'static str) -> Scenario {
    // C's underscores are hyphens in the units' list, which lives as long as the table.
    let cells: Vec<_> = crate::c_units::units()
        .leak()
        .iter()
        .filter(|unit| unit.scenario == function.replace('_', "-"))
        .map(|unit| Cell { mapping: unit.mapping, run: &unit.run, units: &unit.units })
        .collect();
    // A misspelt one would only be missing from the table.
    assert!(!cells.is_empty(), "no file of compat-tests/suites/c has LKPI_SCENARIO({function})");
    Scenario { name, about, source, mainline: linux.mainline, rt: linux.rt, with: String::new(), cells }
}

/// What mainline Linux and PREEMPT_RT allow.
struct Allowed {
    mainline: bool,
    rt: bool,
}

/// All scenarios, in the order of the tables.
pub(crate) fn make() -> Vec<Scenario> {
    vec![
        scenario!(dma_resv_fence_callback, "dma-resv-fence-callback",
            "a fence callback takes a lock inside write_seqlock(); another thread and an ithread take it too",
            mainline: true, rt: true, "drm-kmod #116, the thread of 02ea6033020e"),
        // A twin: its verdicts must be those of the one above.
        in_c(
            "dma_resv_fence_callback",
            "dma-resv-fence-callback-c",
            "dma-resv-fence-callback in C, compiled against linuxkpi/include once per mapping",
            Allowed { mainline: true, rt: true },
            "drm-kmod #116, the thread of 02ea6033020e",
        ),
        scenario!(dma_resv_preempt_disabled, "dma-resv-preempt-disabled",
            "a fence callback takes a lock after preempt_disable() and in a plain seqcount's write section; another thread and an ithread take it too",
            mainline: true, rt: false, "drm-kmod #116 as it was"),
        scenario!(callback_frees_memory, "callback-frees-memory",
            "a fence callback inside write_seqlock() frees memory, allocates and queues work",
            mainline: true, rt: true, "drm-kmod #9, 72a418286b"),
        scenario!(preempted_seq_writer, "preempted-seq-writer",
            "a timer on the writer's CPU reads a seqcount that is written inside spin_lock",
            mainline: true, rt: false, "D35021"),
        scenario!(seq_reader_in_critical, "seq-reader-in-critical",
            "the reader has preemption disabled, the writer is on its CPU",
            mainline: true, rt: false, "follows from D35021"),
        scenario!(seq_reader_leaves_early, "seq-reader-leaves-early",
            "a reader returns between begin and retry, again and again",
            mainline: true, rt: true, "drm-kmod's readers"),
        scenario!(critical_before_spinlock, "critical-before-spinlock",
            "preempt_disable, then a plain spin_lock whose owner may be off CPU",
            mainline: true, rt: false, "drm-kmod #424"),
        scenario!(sleep_in_critical, "sleep-in-critical",
            "schedule_timeout with preemption disabled",
            mainline: false, rt: false, "drm-kmod #375"),
        scenario!(rwlock_inside_rcu, "rwlock-inside-rcu",
            "the seqcount's reader is inside rcu_read_lock, the updater calls synchronize_rcu after its section",
            mainline: true, rt: true, "drm-kmod #237"),
        scenario!(fence_lock_dropped, "fence-lock-dropped",
            "callbacks run with the fence lock dropped",
            mainline: false, rt: false, "PR 253461"),
        scenario!(seqcount_type_dispatch, "seqcount-type-dispatch",
            "dma-resv-fence-callback with a seqcount_ww_mutex_t",
            mainline: true, rt: true, "drm-kmod 223d108caf"),
        scenario!(owner_preempted_same_cpu, "owner-preempted-same-cpu",
            "preempt_disable, then irqsave on a lock whose owner was preempted on this CPU",
            mainline: true, rt: false, "the reviewer's objection to 02ea6033020e"),
        scenario!(irq_handler_takes_lock, "irq-handler-takes-lock",
            "a request_irq handler and a thread share a lock",
            mainline: true, rt: true, "why irqsave exists"),
        scenario!(irqsave_out_of_order_release, "irqsave-out-of-order-release",
            "a then b taken, a released first, b's handler comes",
            mainline: true, rt: true, "Rust-for-Linux #998"),
        scenario!(nested_fence_locks, "nested-fence-locks",
            "locks of one class nested with _nested",
            mainline: true, rt: true, "dma_fence_array, dma_fence_chain, drm_sched"),
        scenario!(sleep_under_spinlock, "sleep-under-spinlock",
            "a spinlock's owner sleeps until a thread that wants the lock wakes it",
            mainline: false, rt: false, "kms-drm #21"),
        scenario!(abba, "abba", "two threads take two locks in opposite orders",
            mainline: false, rt: false, "the classic"),
        scenario!(aa, "aa", "a thread takes a lock that it holds",
            mainline: false, rt: false, "the classic"),
    ]
}
