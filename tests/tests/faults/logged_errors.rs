//! The reports of a fault to operators: one error in the log of the function that met it, for each
//! pass.

use scaling_tests::deployed::SOON;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::Value;

/// The number of errors with this text that passes of `reconcile` logged.
pub(crate) async fn errors_logged(region: &Region<'_>, words: &str) -> usize {
    region.deployed.errors(region.name, words).await.len()
}

/// The number of errors with this text that passes of `hasura-event` logged.
pub(crate) async fn errors_logged_for_events(region: &Region<'_>, words: &str) -> usize {
    let errors = region.deployed.event_errors(region.name, words);
    errors.await.len()
}

/// Waits until a pass of `hasura-event` logs an error with this text.
pub(crate) async fn event_logs(region: &Region<'_>, words: &str) {
    let observe = async || errors_logged_for_events(region, words).await;
    eventually(words, SOON, observe, |logged| *logged > 0).await;
}

/// Runs `pass`, which must log exactly one error with this text, and returns its report.
pub(crate) async fn logs_once(
    region: &Region<'_>,
    words: &str,
    pass: impl Future<Output = Value>,
) -> Value {
    let before = errors_logged(region, words).await;
    let report = pass.await;
    let observe = async || errors_logged(region, words).await;
    let now = eventually(words, SOON, observe, |now| *now > before).await;
    assert_eq!(
        now,
        before + 1,
        "reported more than once: {words}; {report:#}"
    );
    report
}

/// Like [`logs_once`], for a pass by hand.
pub(crate) async fn pass_logs(region: &Region<'_>, words: &str) -> Value {
    logs_once(region, words, region.reconcile()).await
}

/// Whether a step of a report failed with this text.
pub(crate) fn failed_with(report: &Value, words: &str) -> bool {
    let results = report["results"].as_array().map_or(&[][..], Vec::as_slice);
    let failed = results.iter().filter(|result| result["ok"] == false);
    let mut texts = failed.filter_map(|result| result["result"].as_str());
    texts.any(|text| text.contains(words))
}
