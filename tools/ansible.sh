#!/bin/sh
# Makes the environment of Ansible's tools named by the first argument, at the pinned versions of tools/ansible.txt, or of
# the file that the second argument names; the collection is in it by a link. `. DIRECTORY/activate` makes a shell use it.
set -eu
cd "$(dirname "$0")/.."
pins="${2:-tools/ansible.txt}"
if ! cmp -s "$pins" "$1/made-of" 2> /dev/null; then
    rm -rf "$1"
    "${PYTHON:-python3}" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$pins"
    cp "$pins" "$1/made-of"
fi
mkdir -p "$1/collections/ansible_collections/mesh"
ln -sfn "$(pwd)/ansible" "$1/collections/ansible_collections/mesh/hosts"
directory=$(cd "$1" && pwd)
cat > "$1/activate" << EOF
export PATH="$directory/bin:\$PATH"
export ANSIBLE_COLLECTIONS_PATH="$directory/collections"
export ANSIBLE_HOME="$directory/home"
EOF
