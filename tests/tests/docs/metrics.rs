//! `docs/metrics.md` and the one list of metrics.

use scaling_tests::markdown::Page;
use shared::metrics::{METRICS, Metric};

/// The cells of a metric's row.
fn row(metric: &Metric) -> [(&'static str, String); 7] {
    let mark = |is_set: bool| if is_set { "yes" } else { "" }.to_owned();
    let dimensions = metric.dimensions.iter().map(|name| format!("`{name}`"));
    [
        ("metric", format!("`{}`", metric.name)),
        ("kind", metric.kind.as_str().to_owned()),
        ("unit", metric.unit.as_str().to_owned()),
        ("dimensions", dimensions.collect::<Vec<_>>().join(", ")),
        ("of the stack", mark(metric.of_stack)),
        ("Prometheus", mark(metric.is_scraped)),
        ("meaning", metric.meaning.to_owned()),
    ]
}

#[test]
fn table_in_the_documentation_is_the_list_of_metrics() {
    let documented = Page::read("docs/metrics.md").table("The metrics");
    let list: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let cells = row(metric).into_iter();
            cells
                .map(|(title, cell)| (title.to_owned(), cell))
                .collect()
        })
        .collect();
    assert_eq!(documented, list);
}
