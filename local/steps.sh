# The checks that `local/check.sh` and `local/test.sh` share. Sourced by both.

readonly GRAPHQL=local/graphql/Cargo.toml

# step NAME COMMAND...: prints what runs, and how long it took. Within a command,
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

# tests COMMAND...: runs the tests of the workspace by this command, and those of the GraphQL
# engine. A failure does not end the run: it should tell all that it can.
tests() {
    local failed=0
    "$@" || failed=1
    cargo test --locked --manifest-path $GRAPHQL --no-fail-fast || failed=1
    return $failed
}

# totals LOG: sums up the closing lines of the test runners in the log. Fails if a test
# failed or was skipped: what does not run is not known to work.
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
        }' "$1"
}
