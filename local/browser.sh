#!/usr/bin/env bash
# Installs what the tests of the status page need besides `local/setup.sh`: a browser and
# its driver from the system's packages, and the accessibility rules of axe-core, which
# come in a Python package. A second run does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly AXE=axe-playwright-python==0.1.8  # with axe-core 4.12.1
readonly FOLDER=.local/axe

missing=()
[[ -x /usr/bin/chromium ]] || missing+=(chromium)
[[ -x /usr/bin/chromedriver ]] || missing+=(chromium-driver)
if ((${#missing[@]} > 0)); then
    if ! command -v apt-get >/dev/null || ((EUID != 0)); then
        echo "Missing: ${missing[*]} (Debian's names). Install them and run this again." >&2
        exit 1
    fi
    echo "installing ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
fi

if [[ ! -e $FOLDER/$AXE ]]; then
    rm -rf "$FOLDER"
    # Without its dependencies: only the script of axe-core is read.
    .local/venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
        --target "$FOLDER" "$AXE"
    touch "$FOLDER/$AXE"
fi
