#!/usr/bin/env bash
# Runs inside the lab host that serves the archive: makes one small package in two versions, the older one for
# installing, the newer one in an archive that calls itself Debian-Security, served on port 80 of this host.
set -euo pipefail
age=$1
rm -rf /srv/archive; mkdir -p /srv/archive/pool /srv/archive/dists/bookworm-security/main/binary-amd64
cd /srv/archive

build() {
  local version=$1 into=$2 tree; tree=$(mktemp -d)
  mkdir -p "$tree/DEBIAN" "$tree/usr/share/lab-notes"
  echo "lab-notes $version" >"$tree/usr/share/lab-notes/version"
  printf '%s\n' 'Package: lab-notes' "Version: $version" 'Architecture: all' 'Maintainer: Lab <lab@lab.example>' \
    'Section: misc' 'Priority: optional' 'Description: a file with a version number' >"$tree/DEBIAN/control"
  chmod 755 "$tree"
  dpkg-deb --root-owner-group --build "$tree" "$into" >/dev/null
  rm -rf "$tree"
}
build 1.0-1 installed.deb
build 1.0-1+deb12u1 pool/lab-notes_1.0-1+deb12u1_all.deb

apt-ftparchive packages pool >dists/bookworm-security/main/binary-amd64/Packages
apt-ftparchive -o APT::FTPArchive::Release::Origin=Debian -o APT::FTPArchive::Release::Label=Debian-Security \
  -o APT::FTPArchive::Release::Suite=stable-security -o APT::FTPArchive::Release::Codename=bookworm-security \
  -o APT::FTPArchive::Release::Architectures=amd64 -o APT::FTPArchive::Release::Components=main \
  release dists/bookworm-security >Release
sed -i "s/^Date:.*/Date: $(LC_ALL=C date -u -d "$age days ago" '+%a, %d %b %Y %H:%M:%S UTC')/" Release
mv Release dists/bookworm-security/Release
touch -d "$age days ago" dists/bookworm-security/Release pool/*.deb

cat >/etc/systemd/system/lab-archive.service <<'UNIT'
[Unit]
Description=Package archive of the lab
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind :: --directory /srv/archive 80
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable -q --now lab-archive.service
for _ in $(seq 200); do curl -fsS -o /dev/null http://localhost:80/dists/bookworm-security/Release 2>/dev/null && exit 0; sleep .05; done
echo "the archive does not answer" >&2; exit 1
