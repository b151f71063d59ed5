#!/usr/bin/env bash
# Prepares a fresh checkout for `make run` and `make test`: system packages, the
# Python tools, the programs, and the functions' binaries for the local AWS.
# Everything goes to .local/ and target/. A second run does only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VENV=.local/venv
readonly FUNCTIONS=.local/functions

say() { printf '%s\n' "$*" >&2; }

# step NAME COMMAND...: runs the command and prints how long it took.
step() {
    local name=$1 started=$EPOCHREALTIME
    shift
    "$@"
    awk -v from="$started" -v to="$EPOCHREALTIME" -v name="$name" \
        'BEGIN { printf "%7.1f s  %s\n", to - from, name }' >&2
}

have() { command -v "$1" >/dev/null; }

# Debian keeps the server's programs off the search path.
have_postgres() { have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

have_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

system_packages() {
    local missing=()
    have cc || missing+=(build-essential)
    have_venv || missing+=(python3-venv)
    have_postgres || missing+=(postgresql)
    if ((${#missing[@]} > 0)); then
        if ! have apt-get || ((EUID != 0)); then
            say "Missing: ${missing[*]} (Debian's names). Install them and run this again."
            return 1
        fi
        say "installing ${missing[*]}"
        # Without this, installing the server also starts one for the whole machine.
        mkdir -p /etc/postgresql-common
        [[ -e /etc/postgresql-common/createcluster.conf ]] ||
            echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]}" >/dev/null
    fi
    have cargo || {
        say "cargo is missing: install Rust with rustup; rust-toolchain.toml names the version."
        return 1
    }
}

python_tools() {
    local stamp=$VENV/requirements.sha256 wanted
    wanted=$(cat local/requirements.txt <(python3 --version) | sha256sum)
    if [[ -e $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r local/requirements.txt
    printf '%s' "$wanted" >"$stamp"
}

graphql_engine() {
    cargo build --locked --manifest-path local/graphql/Cargo.toml
}

# There are no examples. To ask for them makes cargo unify features with those of
# the dev-dependencies, as `cargo test` does: without it, the tests would compile
# tokio, and with it the AWS SDKs, a second time.
programs() {
    cargo build --locked --workspace --bins --examples
}

# The local AWS runs what plain `cargo build` made: a release build would compile
# the AWS SDK a second time. It lies apart from build/, where `cargo lambda build`
# puts what is deployed for real.
function_binaries() {
    local folder name binary bootstrap
    for folder in functions/*/; do
        name=$(basename "$folder")
        binary=target/debug/$name
        bootstrap=$FUNCTIONS/$name/bootstrap
        [[ $bootstrap -nt $binary ]] && continue
        mkdir -p "$(dirname "$bootstrap")"
        strip -o "$bootstrap.new" "$binary"
        mv "$bootstrap.new" "$bootstrap"
    done
}

step "system packages" system_packages
step "Python tools" python_tools
step "GraphQL engine" graphql_engine
step "programs" programs
step "functions' binaries" function_binaries
