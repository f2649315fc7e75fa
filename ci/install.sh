#!/usr/bin/env bash
# What CI needs besides a Rust toolchain and a C compiler: a browser to test the report's page in, and letters for it. Debian's packages.
set -euxo pipefail
if command -v chromium > /dev/null; then exit 0; fi
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
as_root apt-get update -qq
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
