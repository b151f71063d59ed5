#!/usr/bin/env bash
# Builds assign-user as it is deployed and checks what only a release build shows: that
# it needs no newer C library than Lambda has, and that it stays small. The other
# functions contain the AWS SDK for EC2: its release build takes a quarter of an hour,
# and they need the same C library.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BINARY=target/release/assign-user
# provided.al2023 is Amazon Linux 2023, which has glibc 2.34.
readonly LAMBDA_GLIBC=2.34
readonly LARGEST_ZIP=2500000

cargo build --locked --release -p assign-user

newest=$(objdump -T "$BINARY" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
if [[ $(printf '%s\n%s\n' "$newest" "$LAMBDA_GLIBC" | sort -V | tail -n 1) != "$LAMBDA_GLIBC" ]]; then
    echo "$BINARY needs glibc $newest, but Lambda's provided.al2023 has $LAMBDA_GLIBC: build it with Zig" >&2
    exit 1
fi

zipped=$(python3 - "$BINARY" <<'EOF'
import io, sys, zipfile
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.write(sys.argv[1], "bootstrap")
print(len(packed.getvalue()))
EOF
)
if ((zipped > LARGEST_ZIP)); then
    echo "$BINARY is $zipped bytes zipped, more than $LARGEST_ZIP: find out which dependency made it grow" >&2
    exit 1
fi
echo "assign-user: $zipped bytes zipped, needs glibc $newest"
