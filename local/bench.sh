#!/usr/bin/env bash
# Prints the measured figures of the service, each beside its goal. Needs `local/setup.sh`.
# What is timed closely is built as it is deployed; nothing of that contains the AWS SDK.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release --package assign-user
# By itself: together they would share features, and the function is measured as it is.
cargo build --locked --release --package scaling-bench --no-default-features --bin bench-decide
# With the features of the whole workspace, so that the AWS SDKs are not built again.
cargo build --locked --workspace --examples --bin bench
# Both ends of a thousand connections are in one process.
ulimit -n "$(ulimit -Hn)"
# A run that is worth keeping goes into docs/performance.md.
target/debug/bench | tee .local/bench.md
