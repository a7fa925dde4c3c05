#!/usr/bin/env bash
# Installs the Debian packages that building, the lab and the demo need and that are missing on this machine.
set -euo pipefail

# gcc, libc6-dev: the linker rustc calls. git: the architecture rules ask it for our files.
wanted="gcc libc6-dev git mmdebstrap iproute2 nftables openssh-client util-linux mount e2fsprogs procps ca-certificates"

missing=
for package in $wanted; do
  [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=" $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "tests/lab/packages.sh: needs root to install:$missing" >&2
  echo "  run: sudo apt-get install --no-install-recommends$missing" >&2
  exit 1
fi
echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 # a list of words
apt-get -qq install -y --no-install-recommends $missing </dev/null
