//! JUnit XML: a suite for each scenario, a test for each mapping. A test fails where the cell is not as expected.

use crate::compare::Report;
use quick_junit::{NonSuccessKind, Report as Document, SerializeError, TestCase, TestCaseStatus, TestSuite};

pub(super) fn xml(report: &Report) -> Result<String, SerializeError> {
    let mut document = Document::new("lkpi compare");
    for rows in report.rows().chunk_by(|a, b| a.scenario.name == b.scenario.name) {
        let mut suite = TestSuite::new(rows[0].scenario.name);
        for row in rows {
            let Some(outcome) = &row.outcome else {
                let mut status = TestCaseStatus::skipped();
                status.set_message("not run");
                suite.add_test_case(TestCase::new(row.mapping, status));
                continue;
            };
            let message = outcome.message(report.plan());
            let mut status = TestCaseStatus::success();
            if row.is_wrong() {
                status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type(outcome.verdict.name()).set_message(format!("{}: {message}", outcome.verdict.name()));
                if let Some(expected) = &row.expected {
                    let because = expected.because.split_whitespace().collect::<Vec<_>>().join(" ");
                    status.set_description(format!("expected {}: {because}", expected.verdict.names().join(" or ")));
                }
            }
            let mut case = TestCase::new(row.mapping, status);
            case.set_classname(row.scenario.name);
            let schedule = outcome.schedule.as_ref().map(|schedule| format!("\n{schedule}")).unwrap_or_default();
            case.set_system_out(format!("{}: {message}{schedule}", outcome.verdict.name()));
            suite.add_test_case(case);
        }
        document.add_test_suite(suite);
    }
    document.to_string()
}
