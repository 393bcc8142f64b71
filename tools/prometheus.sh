#!/bin/sh
# Unpacks Debian's (Ubuntu's) own Prometheus into a directory, for tests: nothing is installed and no service begins.
# Does nothing when it is there. Argument: the directory.
set -eu
into="$1"
[ ! -x "$into/usr/bin/promtool" ] || exit 0
echo "Unpacking prometheus into $into"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
if ! apt-get download -qq prometheus 2> /dev/null; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    apt-get download -qq prometheus
fi
cd - > /dev/null
mkdir -p "$into"
dpkg-deb -x "$scratch"/prometheus_*.deb "$into"
