#!/usr/bin/env bash
# Every check and every test, as CI runs them. A test that is skipped counts as a
# failure: what is not run is not known to work.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LOG=.local/test.log
readonly GRAPHQL=local/graphql/Cargo.toml

# step NAME COMMAND...: says what runs, and how long it took. Within a command,
# bash does not end at a failure: steps of several commands join them by &&.
step() {
    local name=$1 started=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" || {
        printf '== %s: failed after %d s\n' "$name" $((SECONDS - started))
        return 1
    }
    printf '== %s: %d s\n' "$name" $((SECONDS - started))
}

format() {
    cargo fmt --all --check && cargo fmt --manifest-path $GRAPHQL --check
}

lint() {
    cargo clippy --locked --workspace --all-targets -- -D warnings &&
        cargo clippy --locked --manifest-path $GRAPHQL --all-targets -- -D warnings
}

templates() {
    local template
    for template in template.yaml forward-events.yaml replicas.yaml; do
        HOME=$PWD/.local/home SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
            .local/venv/bin/sam validate --lint --template-file "$template" || return 1
    done
}

tests() {
    # All of them, also after a failure: a run is long, and should tell all that it can.
    local failed=0
    cargo test --locked --workspace --no-fail-fast || failed=1
    cargo test --locked --manifest-path $GRAPHQL --no-fail-fast || failed=1
    return $failed
}

# Sums up the runners' closing lines; see `cargo test`'s "test result:".
totals() {
    awk '/^test result:/ {
            for (i = 1; i <= NF; i++) {
                if ($i == "passed;") passed += $(i - 1)
                if ($i == "failed;") failed += $(i - 1)
                if ($i == "ignored;") skipped += $(i - 1)
                if ($i == "filtered") skipped += $(i - 1)
            }
        }
        END {
            printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
            exit passed == 0 || failed > 0 || skipped > 0
        }' "$LOG"
}

step "set up" local/setup.sh
step "browser" local/browser.sh
step "format" format
step "templates" templates
step "lint" lint
step "release of assign-user" local/check-release.sh
step "tests" tests 2>&1 | tee "$LOG"
totals
