#!/usr/bin/env bash
# The checks that need no running stack: format, lints, and the tests of the domain, the
# decisions, the functions and the model. For while you work; `local/test.sh` runs all.
set -euo pipefail
cd "$(dirname "$0")/.."
source local/steps.sh

readonly LOG=.local/check.log
# The tests of the others start servers or the whole stack.
readonly WITHOUT_STACK=(
    cargo test --locked --workspace --no-fail-fast --exclude local-stack --exclude scaling-tests
)

mkdir -p .local
step "format" format
step "lint" lint
step "tests without the stack" tests "${WITHOUT_STACK[@]}" 2>&1 | tee "$LOG"
totals "$LOG"
