#!/usr/bin/env bash
# Installs the Debian packages that building, the lab and the demo need and that are missing on this machine;
# `packages.sh test` also those that only the tests ask, `packages.sh bench` those beside which we measure.
set -euo pipefail
# A root shell by plain `su` has no sbin, without which dpkg installs nothing; what is found first today stays first.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# gcc, libc6-dev: the linker rustc calls. git: the architecture rules ask it for our files.
# curl: the demo looks at its page from this machine.
wanted="gcc libc6-dev git mmdebstrap iproute2 nftables openssh-client util-linux mount e2fsprogs procps ca-certificates"
wanted+=" curl"
# The tests of the agent's ports ask a real sshd for its effective configuration (sshd -T); none is ever started here.
# Those of the backup engine ask restic, which judges what we write in its format. A browser looks at the controller's page.
[ "${1:-}" != test ] || wanted+=" openssh-server restic chromium chromium-driver"
# The benchmarks measure beside these.
[ "${1:-}" != bench ] || wanted+=" restic borgbackup python3-minimal"

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
install() { apt-get -qq install -y --no-install-recommends $missing </dev/null; }
case $missing in
  *openssh-server* | *chromium*)
    # It must start nothing on this machine (the browser's packages bring a message bus), and an SSH server not even at
    # the next boot: whatever policy-rc.d there is may allow it, so ours takes its place meanwhile. One that an interrupted
    # run put aside is put back, never written over.
    rules=/usr/sbin/policy-rc.d aside=/usr/sbin/policy-rc.d.before-tenure-lab
    is_there() { [ -e "$1" ] || [ -L "$1" ]; }
    restore() {
      ! grep -qs '^# tenure-lab:' $rules || rm -f $rules
      ! is_there $aside || mv -f $aside $rules
    }
    # The links by which the package enables its server for the next boot go again. What stood there before is not ours,
    # whatever it is, and neither is what is no link to that unit.
    links=/etc/systemd/system new=
    for link in "$links/multi-user.target.wants/ssh.service" "$links/sshd.service"; do
      is_there "$link" || new+=" $link"
    done
    disable() {
      local link
      for link in $new; do
        case $(readlink "$link") in /lib/systemd/system/ssh.service | /usr/lib/systemd/system/ssh.service) rm -f "$link" ;; esac
      done
    }
    trap 'disable; restore' EXIT
    trap 'exit 1' HUP INT TERM
    restore
    ! is_there $rules || mv $rules $aside
    printf '#!/bin/sh\n# tenure-lab: nothing starts while its packages are installed\nexit 101\n' >$rules.new
    chmod 755 $rules.new
    mv -f $rules.new $rules
    install
    ;;
  *) install ;;
esac
