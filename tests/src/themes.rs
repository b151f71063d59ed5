//! Themes: the parts of a long test that run one after the other on one stack.

use std::time::Instant;

use futures::future::LocalBoxFuture;

/// Runs each theme and prints its name and duration.
pub async fn run<'t>(themes: impl IntoIterator<Item = (&'t str, LocalBoxFuture<'t, ()>)>) {
    for (name, theme) in themes {
        let started = Instant::now();
        println!("-- {name}");
        theme.await;
        println!("-- {name}: {:.1} s", started.elapsed().as_secs_f32());
    }
}
