#!/usr/bin/env bash
# A lab of real Debian 12 hosts on one machine: named hosts behind one switch, each with its own systemd as PID 1,
# addresses (IPv4 and IPv6), nftables ruleset, sshd, users, package database and machine id. No container engine;
# the machine's own network, firewall and clock stay untouched.
#
#   lab.sh base                        build the cached root (once; again only when its package list changes)
#   lab.sh up NAME[=ADDR4,ADDR6]...    start the named hosts (without addresses: 10.77.0.11, .12, ... in order)
#   lab.sh exec NAME COMMAND...        run a command inside a host
#   lab.sh beside NAME COMMAND...      run a program of this machine in a host's network, with a /tmp of its own
#   lab.sh net COMMAND...              run a command at the switch (10.77.0.1, fd77::1)
#   lab.sh push NAME PATH MODE         standard input becomes PATH inside the host, in one rename
#   lab.sh address NAME 4|6            print a host's address
#   lab.sh pid NAME                    print the machine's process id of a host's PID 1
#   lab.sh kill | stop | start | reboot NAME           power loss, clean shutdown, boot, clean reboot
#   lab.sh linkdown | linkup NAME      pull and plug the cable
#   lab.sh part NAME NAME | heal       cut a pair off from each other; undo every cut and pull
#   lab.sh disk NAME PATH MEGABYTES    a small ext4 of its own at PATH (to fill it, or where fsync must count)
#   lab.sh archive SERVER CLIENT...    a "Debian-Security" archive on SERVER with one pending update for each CLIENT
#   lab.sh status | down | prune       what runs; remove this lab; remove labs whose owner process has ended
#   lab.sh clean                       remove the cached roots, unless a lab on this machine uses them
#
# Environment: LAB (name of the lab, "lab"), LAB_OWNER (process id whose end makes the lab prunable),
# LAB_CACHE (/var/cache/tenure-lab), LAB_STATE_ROOT (/var/lib/tenure-lab), LAB_EXTRA (packages of a second cached
# layer, comma separated), LAB_ARCHIVE_AGE (days since the pending update came out, 9).
set -euo pipefail
umask 022
# A root shell by plain `su` has no sbin; what is found first today stays first.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

LAB=${LAB:-lab}
CACHE=${LAB_CACHE:-/var/cache/tenure-lab}
ROOT=${LAB_STATE_ROOT:-/var/lib/tenure-lab}
EXTRA=${LAB_EXTRA:-}
STATE=$ROOT/$LAB
SWITCH=tenure-$LAB.switch
NET4=10.77.0
NET6=fd77:

# What a host is made of. netbase: nft needs /etc/protocols to read protocol names.
PACKAGES=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,openssh-client,sshpass,nftables,conntrack,netbase
PACKAGES+=,iproute2,iputils-ping,netcat-openbsd,curl,ca-certificates,cron,sudo,python3,procps,passwd,kmod,less
PACKAGES+=,apt-utils,acl,attr,e2fsprogs,util-linux,tzdata,libfaketime

# What no host may ever get: the machine's clock, modules, raw I/O. There is no user namespace, so this is applied
# to PID 1 and again to every entrance, because a process that enters from outside brings its own capabilities.
FORBIDDEN=-sys_time,-sys_module,-sys_rawio,-mac_admin,-mac_override
DROP=(setpriv --bounding-set "$FORBIDDEN" --inh-caps "$FORBIDDEN")
ENVIRONMENT=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8)

die() { echo "lab: $*" >&2; exit 1; }

# --- what is known about a lab ------------------------------------------------------------------------------

known() { [ -e "$STATE/hosts/$1/address4" ] || die "no host '$1' in lab '$LAB'"; }
names() { if [ -e "$STATE/names" ]; then cat "$STATE/names"; fi; }
address() { cat "$STATE/hosts/$1/address$2"; }
namespace() { echo "tenure-$LAB.$1"; }

# A process id alone may have been given to another process since: the start time goes with it.
started() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
alive() {
  local dir=$STATE/hosts/$1 id
  id=$(cat "$dir/pid" 2>/dev/null) && [ -n "$id" ] && [ "$(started "$id")" = "$(cat "$dir/started")" ]
}
# Its launcher has not ended; one that nobody waits for has (Z).
launched() {
  local id since
  read -r id since 2>/dev/null <"$STATE/hosts/$1/launcher" || return 1
  [ "$(started "$id")" = "$since" ] && [ "$(cut -d' ' -f3 "/proc/$id/stat" 2>/dev/null)" != Z ]
}
pid() { known "$1"; alive "$1" || die "$1 is not running"; cat "$STATE/hosts/$1/pid"; }

cgroup() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo "/sys/fs/cgroup/tenure-$LAB.$1"
  else echo "/sys/fs/cgroup/unified/tenure-$LAB.$1"; fi
}

# --- the cached root ----------------------------------------------------------------------------------------

# Holds the cache until release: shared for whoever builds or takes a root, alone for whoever removes them. The lock's
# file goes with the cache: one that was removed while it was waited for holds nothing.
held=
hold() {
  local try
  for try in $(seq 100); do
    mkdir -p "$CACHE"
    { exec {held}>>"$CACHE/.use"; } 2>/dev/null || { sleep .05; continue; }
    flock "$@" "$held" || { release; return 1; }
    [ ! "/proc/self/fd/$held" -ef "$CACHE/.use" ] || return 0
    release
  done
  die "cannot hold $CACHE/.use"
}
release() { exec {held}>&-; }

# Labs with a lower layer in this cache.
users() {
  local file
  for file in "$ROOT"/*/lower; do
    ! grep -qsF "$CACHE/" "$file" || basename "$(dirname "$file")"
  done
}

clean() {
  local labs
  [ -d "$CACHE" ] || return 0
  hold -n -x || { echo "lab: $CACHE stays: a lab is being made from it" >&2; return 0; }
  labs=$(users | paste -sd' ')
  if [ -n "$labs" ]; then
    echo "lab: $CACHE stays: used by $labs" >&2
  else
    rm -rf --one-file-system "$CACHE"/root-* "$CACHE/.build"
    rm -f "$CACHE/.use"
    rmdir "$CACHE" 2>/dev/null || echo "lab: $CACHE stays: what else is in it is not ours" >&2
  fi
  release
}

sources() {
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then echo /etc/apt/sources.list.d/debian.sources
  elif [ -s /etc/apt/sources.list ]; then echo /etc/apt/sources.list
  fi
}

base() {
  local dir; dir=$CACHE/root-$(echo "2 $PACKAGES" | sha256sum | cut -c1-12)
  if [ ! -e "$dir/.complete" ]; then
    ( flock 9
      [ -e "$dir/.complete" ] || base_build "$dir" ) 9>"$CACHE/.build" >&2
  fi
  echo "$dir"
}

base_build() {
  local dir=$1 unit
  rm -rf "$dir"
  # The machine's own apt sources lead to the packages; the hosts themselves have no way out.
  # shellcheck disable=SC2046 # no sources file: no argument
  mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$dir" $(sources) </dev/null
  rm -f "$dir"/etc/ssh/ssh_host_* "$dir"/etc/resolv.conf "$dir"/var/lib/dbus/machine-id
  rm -rf "$dir"/var/lib/apt/lists/* "$dir"/etc/apt/sources.list "$dir"/etc/apt/sources.list.d/*
  : >"$dir/etc/machine-id"
  for unit in apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service; do
    chroot "$dir" systemctl -q disable "$unit" 2>/dev/null || true
  done
  # The last two watch for questions that nobody asks; the machine has 128 inotify instances for all hosts together.
  for unit in systemd-journald-audit.socket getty@.service console-getty.service systemd-pstore.service \
              systemd-ask-password-console.path systemd-ask-password-wall.path; do
    chroot "$dir" systemctl -q mask "$unit" 2>/dev/null || true
  done
  touch "$dir/.complete"
}

# A second cached layer over the root: further packages, installed once with the machine's way to its archive.
layer() {
  local lower=$1 dir
  dir=$lower+$(echo "$EXTRA" | sha256sum | cut -c1-12)
  if [ ! -e "$dir/.complete" ]; then
    ( flock 9
      [ -e "$dir/.complete" ] || layer_build "$lower" "$dir" ) 9>"$CACHE/.build" >&2
  fi
  echo "$dir/fs:$lower"
}

layer_build() {
  local lower=$1 dir=$2 file
  rm -rf "$dir"; mkdir -p "$dir"/{fs,work,merged,apt/sources}
  file=$(sources); [ -z "$file" ] || cp "$file" "$dir/apt/sources/"
  unshare --mount --pid --fork --kill-child bash -eu -c '
    lower=$1 dir=$2 packages=$3
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/fs,workdir=$dir/work" "$dir/merged"
    cd "$dir/merged"
    mount -t proc proc proc
    mount -t tmpfs tmpfs dev; mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp
    for node in null:3 zero:5 random:8 urandom:9; do mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"; done
    ln -s /proc/self/fd dev/fd
    cp -L /etc/resolv.conf etc/resolv.conf
    for file in "$dir"/apt/sources/*; do
      case $file in *.sources) cp "$file" etc/apt/sources.list.d/;; *) cp "$file" etc/apt/sources.list;; esac
    done
    printf "#!/bin/sh\nexit 101\n" >usr/sbin/policy-rc.d; chmod 755 usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive
    chroot . apt-get -qq -o Acquire::Languages=none update
    chroot . apt-get -qq install -y --no-install-recommends $packages
    chroot . apt-get clean
    rm -rf usr/sbin/policy-rc.d etc/resolv.conf var/lib/apt/lists/* etc/apt/sources.list etc/apt/sources.list.d/*
  ' layer "$lower" "$dir" "${EXTRA//,/ }" >"$dir/log" 2>&1 </dev/null || { tail -20 "$dir/log"; exit 1; }
  rm -rf "$dir/work" "$dir/merged" "$dir/apt"
  touch "$dir/.complete"
}

# --- making hosts -------------------------------------------------------------------------------------------

# The switch is a bridge in a namespace of its own; every host has everything on-link, so any address can be given.
switch_create() {
  ip netns add "$SWITCH"
  ip -n "$SWITCH" link set lo up
  ip -n "$SWITCH" link add br0 type bridge stp_state 0 forward_delay 0
  ip -n "$SWITCH" addr add "$NET4.1/24" dev br0
  ip -n "$SWITCH" addr add "$NET6:1/64" dev br0 nodad
  ip -n "$SWITCH" link set br0 up
  ip -n "$SWITCH" route add default dev br0
  ip -n "$SWITCH" -6 route add default dev br0
}

wire() {
  local name=$1 net number; net=$(namespace "$1")
  number=$(grep -nx "$name" "$STATE/names" | cut -d: -f1)
  ip netns add "$net"
  # The same hardware address after every boot: neighbours remember it.
  ip -n "$SWITCH" link add "p-$name" type veth peer name eth0 address "02:00:00:00:00:$(printf %02x "$number")" netns "$net"
  ip -n "$SWITCH" link set "p-$name" master br0 up
  ip -n "$net" link set lo up
  ip -n "$net" addr add "$(address "$name" 4)/24" dev eth0
  ip -n "$net" addr add "$(address "$name" 6)/64" dev eth0 nodad
  ip -n "$net" link set eth0 up
  ip -n "$net" route add default dev eth0
  ip -n "$net" -6 route add default dev eth0
}

unwire() {
  ip -n "$SWITCH" link del "p-$1" 2>/dev/null || true      # first: a name is free again at once, a namespace is not
  ip netns del "$(namespace "$1")"
}

# Numbers and addresses are assigned in the order of the names.
name_hosts() {
  local number=10 spec name pair
  for spec in "$@"; do
    name=${spec%%=*}
    [[ $name =~ ^[a-z][a-z0-9-]{0,11}$ ]] || die "host name '$name': a letter, then up to 11 letters, digits, dashes"
    [ ! -e "$STATE/hosts/$name" ] || die "host name '$name' is given twice"
    number=$((number + 1))
    pair=$NET4.$number,$NET6:$number
    [ "$spec" = "$name" ] || pair=${spec#*=}
    mkdir -p "$STATE/hosts/$name"
    echo "${pair%,*}" >"$STATE/hosts/$name/address4"
    echo "${pair#*,}" >"$STATE/hosts/$name/address6"
    echo "$name" >>"$STATE/names"
  done
}

furnish() {
  local name=$1 dir=$STATE/hosts/$1 other
  mkdir -p "$dir"/{upper/etc/ssh,work,root}
  echo "$name" >"$dir/upper/etc/hostname"
  tr -d - </proc/sys/kernel/random/uuid >"$dir/upper/etc/machine-id"
  { echo "127.0.0.1 localhost"; echo "::1 localhost"
    for other in $(names); do echo "$(address "$other" 4) $other"; echo "$(address "$other" 6) $other"; done
  } >"$dir/upper/etc/hosts"
  ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$dir/upper/etc/ssh/ssh_host_ed25519_key"
}

# Every host knows every host's key beforehand: no scenario trusts on first use.
introduce() {
  local name other
  for name in $(names); do
    for other in $(names); do
      echo "$other,$(address "$other" 4),$(address "$other" 6)" \
        "$(cut -d' ' -f1,2 "$STATE/hosts/$other/upper/etc/ssh/ssh_host_ed25519_key.pub")"
    done >"$STATE/hosts/$name/upper/etc/ssh/ssh_known_hosts"
  done
}

# Runs inside the new namespaces and ends as the host's systemd.
boot_script() {
  local name=$1 dir=$STATE/hosts/$1
  cat <<BOOT
#!/bin/bash
set -e
mount --make-rprivate /
rm -rf $dir/work/work/incompat     # what "volatile" leaves behind after a power loss
mount -t overlay overlay -o volatile,lowerdir=$(cat "$STATE/lower"),upperdir=$dir/upper,workdir=$dir/work $dir/root
for image in $dir/disks/*.img; do
  [ -e "\$image" ] || continue
  at=$dir/root\$(cat "\${image%.img}.at"); mkdir -p "\$at"; mount -o loop "\$image" "\$at"
done
cd $dir/root
mount -t proc proc proc -o nosuid,nodev,noexec
mount --bind proc/sys proc/sys                       # kernel.* is the machine's: read-only
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net               # net.* is this host's own
mount -o remount,bind,rw,nosuid,nodev,noexec proc/sys/net
if [ -e proc/sysrq-trigger ]; then
  mount --bind proc/sysrq-trigger proc/sysrq-trigger; mount -o remount,bind,ro proc/sysrq-trigger
fi
mount -t sysfs sysfs sys -o ro,nosuid,nodev,noexec
mount -t cgroup2 cgroup2 sys/fs/cgroup -o nosuid,nodev,noexec
mount -t tmpfs tmpfs run -o mode=755,size=256m,nosuid,nodev
mount -t tmpfs tmpfs dev -o mode=755,size=1m,nosuid
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666,mode=620,gid=5
mount -t tmpfs tmpfs dev/shm -o mode=1777,nosuid,nodev
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 dev/\${node%:*} c 1 \${node#*:}; done
mknod -m 666 dev/tty c 5 0
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
hostname $name
mkdir -p .old; pivot_root . .old; cd /
umount -l /.old; rmdir /.old 2>/dev/null || true
# CAP_SYS_BOOT stays: reboot() inside a process namespace ends only that namespace.
exec ${ENVIRONMENT[*]} container=lab ${DROP[*]} /sbin/init --log-target=journal --show-status=no
BOOT
}

boot() {
  local name=$1 dir=$STATE/hosts/$1 net group launcher id=
  known "$name"
  alive "$name" && return
  gone "$name" 60 || die "$name has not let go of its disks"
  net=$(namespace "$name")
  # A namespace outlives its processes, and with it ruleset, tracked connections and counters: a boot starts with none.
  [ ! -e "/run/netns/$net" ] || unwire "$name"
  wire "$name"
  group=$(cgroup "$name"); mkdir -p "$group"
  boot_script "$name" >"$dir/boot.sh"
  # The launcher outlives this call; when it dies the host dies with it. It must start nothing but the host: its only
  # child is taken for PID 1 below.
  ( echo 0 >"$group/cgroup.procs"
    exec setsid nohup ip netns exec "$net" \
      unshare --mount --uts --ipc --pid --cgroup --fork --kill-child /bin/bash "$dir/boot.sh" \
      </dev/null >"$dir/console.log" 2>&1 ) &
  launcher=$!
  echo "$launcher $(started "$launcher")" >"$dir/launcher"
  for _ in $(seq 400); do
    id=$(cut -d' ' -f1 "/proc/$launcher/task/$launcher/children" 2>/dev/null || true)
    [ -z "$id" ] || break
    sleep .01
  done
  [ -n "$id" ] || { cat "$dir/console.log" >&2; die "$name did not start"; }
  echo "$id" >"$dir/pid"; started "$id" >"$dir/started"
}

# Up means: systemd has no job left and sshd answers on the host's own loopback (whatever its firewall says).
await() {
  local name=$1
  for _ in $(seq 1200); do
    alive "$name" || { cat "$STATE/hosts/$name/console.log" >&2; die "$name died while starting"; }
    # shellcheck disable=SC2016 # expanded inside the host
    if inside "$name" bash -c '[ -S /run/systemd/private ] && [ -z "$(systemctl list-jobs --no-legend 2>&1)" ] &&
         exec 3<>/dev/tcp/127.0.0.1/22 && read -rt1 -u3 line && [[ $line == SSH-* ]]' 2>/dev/null
    then return; fi
    sleep .05
  done
  die "$name: not up after 60 s"
}

# --- entrances ----------------------------------------------------------------------------------------------

# --pdeathsig: ending the entrance ends what it started.
enter() {
  local id; id=$(pid "$1"); shift
  exec nsenter -t "$id" -m -u -i -n -p -C -r"/proc/$id/root" --wd="/proc/$id/root" -- \
    "${DROP[@]}" --pdeathsig KILL "${ENVIRONMENT[@]}" "$@"
}
inside() { ( enter "$@" ); }

# What no host has, and what is too large for one: it sees the host's network and no other. It has processes and a /tmp of
# its own, so ending the entrance ends whatever it has started, and nothing that it wrote there stays.
# shellcheck disable=SC2016 # expanded inside
beside() {
  local id; id=$(pid "$1"); shift
  exec nsenter -t "$id" -n -- "${DROP[@]}" --pdeathsig KILL "${ENVIRONMENT[@]}" HOME=/tmp \
    unshare --fork --kill-child --pid --mount-proc --ipc -- \
    sh -c 'mount -t tmpfs tmpfs /tmp && exec "$@"' beside "$@"
}

# shellcheck disable=SC2016 # expanded inside the host
push() {
  inside "$1" sh -c 'set -e; mkdir -p "$(dirname "$1")"; cat >"$1.lab-push"; chmod "$2" "$1.lab-push"
    mv -f "$1.lab-push" "$1"' push "$2" "$3"
}

# --- power, cables, disks -----------------------------------------------------------------------------------

# Gone means also: its file systems are no longer mounted. The launcher, and whoever was just in the host, hold the mount
# namespace a moment longer than PID 1 lives, and the next boot must not meet the old mounts of the same disks. Waits so
# many seconds: who is waiting for a slow disk does not die before it answers.
gone() {
  for _ in $(seq $((40 * ${2:-20}))); do
    alive "$1" || launched "$1" || mounted "$1" || return 0
    sleep .025
  done
  return 1
}
mounted() {
  local image
  for image in "$STATE/hosts/$1"/disks/*.img; do
    [ ! -e "$image" ] || [ -z "$(losetup -nO NAME -j "$image")" ] || return 0
  done
  return 1
}
# What a disk was not told to keep is lost with the power: an orderly unmount, as follows here, would keep it.
# The number is EXT4_IOC_SHUTDOWN, the 2 EXT4_GOING_FLAGS_NOLOGFLUSH.
cut_off() {
  local at
  for at in "$STATE/hosts/$1"/disks/*.at; do
    [ ! -e "$at" ] || inside "$1" python3 -c '
import fcntl, os, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, b"\2\0\0\0")' "$(cat "$at")"
  done
}
power_off() { ! alive "$1" || kill -9 "$(pid "$1")"; gone "$1" 60 || die "$1 does not die"; }
shut_down() {
  alive "$1" || return 0
  kill -s RTMIN+4 "$(pid "$1")"          # systemd(1): starts poweroff.target
  gone "$1" || { echo "lab: $1 did not stop in 20 s, killing" >&2; power_off "$1"; }
}

cut_pair() {
  known "$1"; known "$2"
  ip netns exec "$SWITCH" nft -f - <<CUT
add table bridge lab
add chain bridge lab cut { type filter hook forward priority 0; }
add rule bridge lab cut iifname "p-$1" oifname "p-$2" counter drop
add rule bridge lab cut iifname "p-$2" oifname "p-$1" counter drop
CUT
}

heal() {
  local name
  ip netns exec "$SWITCH" nft 'add table bridge lab; delete table bridge lab'
  for name in $(names); do ip -n "$SWITCH" link set "p-$name" up; done
}

disk() {
  local name=$1 at=$2 size=$3 dir=$STATE/hosts/$1/disks key loop node
  known "$name"; key=$(echo "$at" | tr / _)
  mkdir -p "$dir"; truncate -s "${size}M" "$dir/$key.img"; mkfs.ext4 -q -m0 "$dir/$key.img"; echo "$at" >"$dir/$key.at"
  alive "$name" || return 0
  loop=$(losetup -f --show "$dir/$key.img"); node=$(stat -c '0x%t 0x%T' "$loop")
  inside "$name" sh -c "mkdir -p '$at' && mknod -m600 '/dev/lab$key' b $node && mount '/dev/lab$key' '$at'"
  losetup -d "$loop"                     # in use: it detaches when the host lets go
}

# --- a pending security update ------------------------------------------------------------------------------

archive() {
  local server=$1 name; shift
  known "$server"
  inside "$server" bash -s "${LAB_ARCHIVE_AGE:-9}" <"$(dirname "$0")/archive.sh"
  for name in "$@"; do
    inside "$server" cat /srv/archive/installed.deb | push "$name" /var/cache/lab-notes.deb 644
    echo "deb [trusted=yes] http://$server/ bookworm-security main" | push "$name" /etc/apt/sources.list.d/lab.list 644
    inside "$name" sh -c 'dpkg -i /var/cache/lab-notes.deb && rm /var/cache/lab-notes.deb && apt-get -qq update' >/dev/null
  done
}

# --- the end of a lab ---------------------------------------------------------------------------------------

down() {
  local name group net loop state
  # Somebody may take the same lab down at this moment (its owner, and prune): one after the other.
  if { exec {state}<"$STATE"; } 2>/dev/null; then flock "$state"; fi
  for name in $(names); do power_off "$name" & done; wait
  for net in $(ip netns list | cut -d' ' -f1 | grep -F "tenure-$LAB." || true); do
    ip netns del "$net" 2>/dev/null || [ ! -e "/run/netns/$net" ] || die "cannot remove the namespace $net"
  done
  for name in $(names); do
    group=$(cgroup "$name")
    for _ in $(seq 100); do
      [ -d "$group" ] || break
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep .05
    done
  done
  for loop in $(losetup -nO NAME,BACK-FILE 2>/dev/null | awk -v s="$STATE/" 'index($2,s)==1{print $1}'); do
    losetup -d "$loop" || true
  done
  rm -rf "$STATE"
  rmdir "$ROOT" 2>/dev/null || true
}

prune() {
  local dir owner
  for dir in "$ROOT"/*/; do
    [ -e "$dir/owner" ] || continue
    owner=$(cat "$dir/owner" 2>/dev/null) || continue       # its owner removes it at this moment
    [ "$(started "${owner% *}")" = "${owner#* }" ] || LAB=$(basename "$dir") "$0" down
  done
}

up() {
  local lower name
  [ "$(id -u)" = 0 ] || die "must run as root: it makes namespaces and mounts"
  [ $# -gt 0 ] || die "name at least one host"
  [[ $LAB =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]] || die "lab name '$LAB': up to 40 lower-case letters, digits, dashes"
  [ ! -e "$STATE" ] || die "lab '$LAB' exists: LAB=$LAB $0 down"
  hold -s
  lower=$(base); [ -z "$EXTRA" ] || lower=$(layer "$lower")
  # The last lab that goes takes the directory of all with it, perhaps just now.
  mkdir -p "$STATE" 2>/dev/null || { sleep .1; mkdir -p "$STATE"; }
  chmod 711 "$ROOT" "$STATE"
  [ -z "${LAB_OWNER:-}" ] || echo "$LAB_OWNER $(started "$LAB_OWNER")" >"$STATE/owner"
  echo "$lower" >"$STATE/lower"
  release
  name_hosts "$@"
  switch_create
  for name in $(names); do furnish "$name"; done
  introduce
  for name in $(names); do boot "$name"; done
  for name in $(names); do await "$name"; done
}

command=${1:-help}; shift || true
case $command in
  base) hold -s; base; release ;;
  up) up "$@" ;;
  exec) enter "$@" ;;
  beside) beside "$@" ;;
  net) exec ip netns exec "$SWITCH" "$@" ;;
  push) push "$1" "$2" "$3" ;;
  address) known "$1"; address "$1" "$2" ;;
  pid) pid "$1" ;;
  kill) known "$1"; ! alive "$1" || cut_off "$1"; power_off "$1" ;;
  stop) known "$1"; shut_down "$1" ;;
  start) boot "$1"; await "$1" ;;
  reboot) known "$1"; shut_down "$1"; boot "$1"; await "$1" ;;
  linkdown) ip -n "$SWITCH" link set "p-$1" down ;;
  linkup) ip -n "$SWITCH" link set "p-$1" up ;;
  part) cut_pair "$1" "$2" ;;
  heal) heal ;;
  disk) disk "$1" "$2" "$3" ;;
  archive) archive "$@" ;;
  status) for name in $(names); do
      if alive "$name"; then echo "$name up $(address "$name" 4) $(address "$name" 6)"; else echo "$name down"; fi
    done ;;
  down) down ;;
  prune) prune ;;
  clean) clean ;;
  *) sed -n '2,29s/^# \{0,1\}//p' "$0"; exit 64 ;;
esac
