#!/usr/bin/env python3
"""Brings the system packages that hosts need, with all that these depend on, as a directory that apt can install from.

    tools/debs.py DIRECTORY PACKAGE…

Rules: they are those of this machine's own distribution, fetched and checked by its apt, whatever is installed here; a
host takes from them only what it does not have. Nothing on this machine changes.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """The command line."""
    fetch(Path(sys.argv[1]), sys.argv[2:])
    return 0


def fetch(into: Path, packages: list[str]) -> None:
    """The packages and what they need of a machine that has nothing, and an index of them."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch) / "status"
        bare.touch()
        archives = Path(scratch) / "archives"
        (archives / "partial").mkdir(parents=True)
        options = {
            "Dir::State::status": bare, "Dir::Cache::archives": archives, "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
        }  # fmt: skip
        told = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        get = ["apt-get", "--yes", "--quiet=2", "--no-install-recommends", *told]
        subprocess.run([*get, "--download-only", "install", *packages], check=True, stdout=subprocess.DEVNULL)
        for old in into.glob("*.deb"):
            old.unlink()
        for archive in archives.glob("*.deb"):
            shutil.copy(archive, into / archive.name.replace("%3a", "_"))
    write_index(into)


def write_index(directory: Path) -> None:
    """`Packages`, by which apt knows what is there."""
    with (directory / "Packages").open("wb") as index:
        for path in sorted(directory.glob("*.deb")):
            control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True).stdout
            digest = hashlib.sha256(path.read_bytes()).hexdigest().encode()
            size = str(path.stat().st_size).encode()
            index.write(control.rstrip() + b"\nFilename: ./" + path.name.encode() + b"\nSize: " + size)
            index.write(b"\nSHA256: " + digest + b"\n\n")


if __name__ == "__main__":
    sys.exit(main())
