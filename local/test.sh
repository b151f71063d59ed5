#!/usr/bin/env bash
# Every check and every test, as CI runs them. A test that is skipped counts as a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
source local/parallel.sh
source local/steps.sh

readonly LOG=.local/test.log

templates() {
    local template
    for template in template.yaml forward-events.yaml replicas.yaml; do
        HOME=$PWD/.local/home SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
            .local/venv/bin/sam validate --lint --template-file "$template" || return 1
    done
}

# Beside the lints, because one crate keeps them on one core for minutes.
lint_and_more() {
    start "lint" "100:300" lint
    start "release of assign-user" "100:150" local/check-release.sh
    start "templates" "100:30" templates
    start "dependencies" "100:20" local/check-dependencies.sh
    start "browser" "100:30" local/browser.sh
    finish
}

step "setup" local/setup.sh
step "format" format
step "lint, release of assign-user, templates, dependencies, browser" lint_and_more
# What was not checked, if the network is missing.
cat .local/logs/dependencies.log
step "tests" tests local/run_tests.py 2>&1 | tee "$LOG"
totals "$LOG"
