#!/usr/bin/env bash
# The compiler that `local/setup.sh` builds with. It differs from rustc for the AWS
# SDKs: of their hundreds of operations, only those that are used become machine code.
# The one for EC2 takes 140 s of CPU time and 6 GB that way, instead of 340 s and 8 GB.
#
# The option is unstable, so the compiler has to be told to accept it; its version is
# pinned in rust-toolchain.toml. What is deployed is built without it: an optimised build
# has it only with SDKS_USED_PARTS=1, as for the benchmark.
set -euo pipefail

if [[ " $* " == *" --crate-name aws_sdk_"* ]] &&
    [[ " $* " != *" opt-level="* || -n ${SDKS_USED_PARTS:-} ]]; then
    export RUSTC_BOOTSTRAP=1
    exec "$@" -Zhint-mostly-unused
fi
exec "$@"
