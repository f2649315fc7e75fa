//! FreeBSD's lock and scheduling kernel, emulated in userspace: a kernel, not bindings to one.
//!
//! The module list is the table of contents. A module is named after its man page in section 9, or after the kernel's
//! own file where no page exists. `README.md` says what is emulated and what is not.
//!
//! A [`machine::Machine`] is a kernel that has booted. A closure runs on it as thread0, on one of the two engines:
//! [`host::explore`] or [`host::smp`]. What comes of it is a [`machine::Verdict`], a panic included:
//!
//! ```
//! use freebsd_sys::critical::critical_enter;
//! use freebsd_sys::host::explore::{self, Options};
//! use freebsd_sys::host::schedule::random::Random;
//! use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
//! use freebsd_sys::sched::sched_relinquish;
//!
//! let machine = Machine::new(Config::default(), Engine::Explore);
//! let execution = explore::run(&machine, &mut Random::new(1), Options::default(), &|| {
//!     critical_enter();
//!     sched_relinquish();
//! });
//! assert_eq!(execution.verdict, Verdict::Panic("mi_switch: switch in a critical section".to_owned()));
//! ```

// -- what FreeBSD is not: the machine under the kernel
pub mod cpu;
pub mod host;
pub mod machine;
pub mod module;

// -- kernel core
pub mod atomic;
pub mod critical;
pub mod interrupt;
pub mod panic;
pub mod sched;
pub mod smp;
pub mod thread;

// -- lock substrate
pub mod lint;
pub mod lock;
pub mod lock_profile;
pub mod sleepqueue;
pub mod turnstile;
pub mod witness;

// -- locks, one file each
pub mod condvar;
pub mod epoch;
pub mod giant;
pub mod lockmgr;
pub mod mutex;
pub mod rmlock;
pub mod rwlock;
pub mod seqc;
pub mod sx;

// -- memory, sleeping and deferred work
pub mod callout;
pub mod kproc;
pub mod malloc;
pub mod sleep;
pub mod syscall;
pub mod taskqueue;
pub mod userret;

// -- for C
pub mod ffi;
