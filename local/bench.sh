#!/usr/bin/env bash
# Prints the measured figures of the service, each beside its goal. Needs `local/setup.sh`.
# What is timed closely is built as it is deployed.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release --package assign-user
# By itself: together they would share features, and the function is measured as it is.
cargo build --locked --release --package scaling-bench --no-default-features \
    --features assign --bin bench-decide --bin bench-assign
# One engine answers both sides of a comparison, which its own time would hide in a dev build.
cargo build --locked --release --manifest-path local/graphql/Cargo.toml
# What a pass takes is measured as it is deployed. It contains the AWS SDK for EC2, which would take
# a quarter of an hour and 8 GB: of the SDKs, only what is used is compiled.
SDKS_USED_PARTS=1 RUSTC_WRAPPER=$PWD/local/rustc-sdks.sh \
    cargo build --locked --release --package reconcile --target-dir target/bench
# With the features of the whole workspace, so that the AWS SDKs are not built again.
cargo build --locked --workspace --examples --bin bench
# Both ends of a thousand connections are in one process.
ulimit -n "$(ulimit -Hn)"
# A run that is worth keeping goes into docs/performance.md.
target/debug/bench | tee .local/bench.md
