#!/bin/sh
# Makes the virtual environment named by the first argument, with every dependency at its pinned version and hash.
set -eu
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$("$python" --version) is too old: the mesh needs Python 3.11 or newer (PYTHON=… names another)" >&2
    exit 1
}
[ -x "$1/bin/python" ] || "$python" -m venv "$1"
"$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
"$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
