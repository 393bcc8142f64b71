#!/usr/bin/env python3
"""Brings the system packages that hosts need, with all that these depend on, as a directory that apt can install from.

    tools/debs.py [--suite SUITE [--mirror MIRROR]] DIRECTORY PACKAGE…

Rules: they are those of this machine's own distribution, or of another one that mmdebstrap knows and whose keys are
here; apt fetches and checks them, whatever is installed here; a host takes from them only what it does not have.
Nothing on this machine changes.
"""

import argparse
import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Ubuntu has Podman in a component of its own.
COMPONENTS = {"bookworm": "main", "trixie": "main", "noble": "main,universe"}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=COMPONENTS, help="another distribution than this machine's")
    parser.add_argument("--mirror", default="", help="where that comes from; else where mmdebstrap looks by itself")
    parser.add_argument("directory", type=Path)
    parser.add_argument("packages", nargs="+")
    told = parser.parse_args()
    if told.suite:
        fetch_foreign(told.directory, told.packages, told.suite, told.mirror)
    else:
        fetch(told.directory, told.packages)
    return 0


def fetch_foreign(into: Path, packages: list[str], suite: str, mirror: str) -> None:
    """The same, by an apt that mmdebstrap has told of another distribution and of nothing else."""
    again = shlex.join([sys.executable, str(Path(__file__).absolute()), str(into.absolute()), *packages])
    looks = f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {again}'
    wanted = ["--quiet", "--variant=custom", f"--components={COMPONENTS[suite]}", f"--customize-hook={looks}"]
    subprocess.run(["mmdebstrap", *wanted, suite, "/dev/null", *([mirror] if mirror else [])], check=True)


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
