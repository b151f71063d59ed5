#!/usr/bin/env bash
# Prepares a fresh checkout for `make run` and `make test`: system packages, the
# Python tools, the programs, and the functions' binaries for the local AWS.
# Everything goes to .local/ and target/. A second run does only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."
source local/parallel.sh

readonly VENV=.local/venv
readonly FUNCTIONS=.local/functions

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
    # rustup installs that version at cargo's first call. Two builds at once would both do so.
    cargo --version >/dev/null
}

# The calling step leaves the cores to the others: it gets what they do not use.
yield_cores() { renice -n 10 -p "$BASHPID" >/dev/null; }

python_tools() {
    local stamp=$VENV/requirements.sha256 expected
    expected=$(cat local/requirements.txt <(python3 --version) | sha256sum)
    if [[ -e $stamp && $(<"$stamp") == "$expected" ]]; then
        return
    fi
    yield_cores
    rm -f "$stamp"
    python3 -m venv "$VENV"
    # The list is complete, so there is nothing to resolve. Python compiles a module
    # when it is first imported: most of these never are.
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
        -r local/requirements.txt
    "$VENV/bin/pip" check --disable-pip-version-check
    printf '%s' "$expected" >"$stamp"
}

graphql_engine() {
    yield_cores
    cargo build --locked --manifest-path local/graphql/Cargo.toml
}

# Only the binaries that the stack runs, but with the features of the whole workspace.
# There are no examples: to ask for them makes cargo unify features with those of the
# dev-dependencies, as `cargo test` does. With other features, the tests would compile
# tokio, and with it the AWS SDKs, a second time.
programs() {
    local bins=(local-stack ec2-emulator host-agent replica) folder
    for folder in functions/*/; do
        bins+=("$(basename "$folder")")
    done
    RUSTC_WRAPPER=${RUSTC_WRAPPER:-$PWD/local/rustc-sdks.sh} \
        cargo build --locked --workspace --examples "${bins[@]/#/--bin=}"
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

started=$EPOCHREALTIME
system_packages
took "system packages" "$started"

# The programs take longest: half of that is one crate, the AWS SDK for EC2, on one core.
start "programs" "60:65 89:110 94:170 99:250 100:295" programs
start "GraphQL engine" "5:110 100:360" graphql_engine
start "Python tools" "100:160" python_tools
finish
started=$EPOCHREALTIME
function_binaries
took "functions' binaries" "$started"
