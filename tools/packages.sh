#!/bin/sh
# Installs the system packages that the mesh and its tests need; does nothing when all are there. Arguments: further
# packages.
set -eu
wanted="podman crun conmon iproute2 nftables util-linux procps busybox-static python3 python3-venv ca-certificates bind9-dnsutils haproxy $*"
[ -d /run/systemd/system ] || wanted="$wanted runit"
missing=""
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "Installing$missing"
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list
$sudo apt-get install -y -qq --no-install-recommends $missing > /dev/null
