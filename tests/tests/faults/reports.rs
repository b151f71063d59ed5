//! What operators are told of a fault: an error in the log of the function that met it, once for
//! each pass.

use scaling_tests::deployed::SOON;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::Value;

/// How many errors of passes by `reconcile` have these words in them.
pub(crate) async fn told(region: &Region<'_>, words: &str) -> usize {
    region.deployed.errors(region.name, words).await.len()
}

/// The same of passes that events of the database have asked for.
pub(crate) async fn told_by_events(region: &Region<'_>, words: &str) -> usize {
    let errors = region.deployed.errors_of_events(region.name, words);
    errors.await.len()
}

/// Waits for the first of those.
pub(crate) async fn events_tell(region: &Region<'_>, words: &str) {
    let look = async || told_by_events(region, words).await;
    eventually(words, SOON, look, |told| *told > 0).await;
}

/// The report of a pass that logs exactly one error with these words.
pub(crate) async fn told_once(
    region: &Region<'_>,
    words: &str,
    pass: impl Future<Output = Value>,
) -> Value {
    let before = told(region, words).await;
    let report = pass.await;
    let look = async || told(region, words).await;
    let now = eventually(words, SOON, look, |now| *now > before).await;
    assert_eq!(now, before + 1, "told more than once: {words}; {report:#}");
    report
}

/// The same of a pass by hand.
pub(crate) async fn pass_tells(region: &Region<'_>, words: &str) -> Value {
    told_once(region, words, region.reconcile()).await
}

/// Whether a step of a report failed with these words.
pub(crate) fn failed_with(report: &Value, words: &str) -> bool {
    let results = report["results"].as_array().map_or(&[][..], Vec::as_slice);
    let failed = results.iter().filter(|result| result["ok"] == false);
    let mut texts = failed.filter_map(|result| result["result"].as_str());
    texts.any(|text| text.contains(words))
}
