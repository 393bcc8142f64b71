#!/bin/sh
# Unpacks a package of Debian's (Ubuntu's) into a directory, for tests: nothing is installed and no service begins.
# Does nothing when it is there. Arguments: the package, a program of it, the directory.
set -eu
package="$1" program="$2" into="$3"
[ ! -x "$into/usr/bin/$program" ] || exit 0
echo "Unpacking $package into $into"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
if ! apt-get download -qq "$package" 2> /dev/null; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    apt-get download -qq "$package"
fi
cd - > /dev/null
mkdir -p "$into"
dpkg-deb -x "$scratch/$package"_*.deb "$into"
