#!/bin/sh
# Builds the image localhost/mesh-hello:1 from this machine's own static busybox, and puts it into the mesh's Podman.
# With a file name: only writes the root file system there, as a tar.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root/files/bin" "$root/files/etc" "$root/files/tmp" "$root/files/www"
cp "${BUSYBOX:-/bin/busybox}" "$root/files/bin/busybox"
for applet in $("$root/files/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/files/bin/$applet"
done
echo 'root:x:0:0:root:/:/bin/sh' > "$root/files/etc/passwd"
echo 'root:x:0:' > "$root/files/etc/group"
tar -C "$root/files" --owner=0 --group=0 -cf "${1:-$root/image.tar}" .
[ $# -eq 0 ] || exit 0
exec podman --url "unix://${MESH_ROOT:-/var/lib/mesh}/run/podman.sock" \
    import --change 'CMD ["/bin/sh"]' "$root/image.tar" localhost/mesh-hello:1
