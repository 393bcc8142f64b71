#!/bin/sh
# Builds the guestbook's image, versions 1 and 2, in the Podman of the mesh on this host: for a mesh of one host.
# Several hosts are given it with `mesh image load`, as README.md shows.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp -r "$here/Dockerfile" "$here/app" "$context/"
cp "${BUSYBOX:-/bin/busybox}" "$context/busybox"
for version in 1 2; do
    podman --url "unix://${MESH_ROOT:-/var/lib/mesh}/run/podman.sock" \
        build -q --network=none --build-arg VERSION=$version -t localhost/guestbook:$version "$context"
done
