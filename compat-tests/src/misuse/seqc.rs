//! Rows 119 and 120: seqc(9).

use super::{Row, case, row};
use freebsd_sys::critical::critical_exit;
use freebsd_sys::seqc::Seqc;

pub(super) fn rows() -> Vec<Row> {
    let modified = "Assertion !seqc_in_modify(*seqcp) failed at %s:%d";
    vec![
        row(
            119,
            [
                case("seqc_write_begin twice", || {
                    let seqc = Seqc::new();
                    seqc.write_begin();
                    seqc.write_begin();
                    critical_exit();
                    critical_exit();
                })
                .invariants(modified),
                case("seqc_sleepable_write_begin twice", || {
                    let seqc = Seqc::new();
                    seqc.sleepable_write_begin();
                    seqc.sleepable_write_begin();
                })
                .invariants(modified),
                case("seqc_sleepable_write_end without a begin", || Seqc::new().sleepable_write_end())
                    .invariants(modified),
            ],
        ),
        row(
            120,
            [case("seqc_consistent with an odd count", || {
                let seqc = Seqc::new();
                seqc.sleepable_write_begin();
                let odd = seqc.read_any();
                // Nothing has changed, so the torn data would be taken for whole.
                assert!(seqc.consistent(odd));
                seqc.sleepable_write_end();
            })
            .invariants("Assertion !(seqc_in_modify(__oldseqc)) failed at %s:%d")],
        ),
    ]
}
