#!/usr/bin/env python3
"""Makes the bundle from which hosts are provisioned: the mesh's wheel, what it needs at pinned versions, images.

    tools/bundle.py [--suite SUITE] [--no-wheels] [--debs] [--label WORD] [--images DIR] DIRECTORY

With --suite it is for hosts of that distribution, whichever this machine has.

Rules: a dependency is named with the version and the hashes of constraints.txt, so that no host installs anything else;
with the wheels in it no host needs a package index, with the .debs none needs a mirror of its distribution. The name of
the release is the same for the same content and Python.
"""

import argparse
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = "mesh-containers"


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a bundle is for: a distribution, as Ansible calls it, and its Python."""

    distribution: str
    python: str


SUITES = {
    "bookworm": Hosts("Debian 12", "3.11"), "trixie": Hosts("Debian 13", "3.13"), "noble": Hosts("Ubuntu 24.04", "3.12")
}  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--suite", choices=SUITES, help="the hosts' distribution; else they are as this machine is")
    parser.add_argument("--mirror", default="", help="where --debs finds that; else where mmdebstrap looks by itself")
    parser.add_argument("--no-wheels", action="store_true", help="leave the dependencies to the hosts' package index")
    parser.add_argument("--debs", action="store_true", help="bring system packages, of the hosts' distribution")
    parser.add_argument("--label", default="", help="added to the release's name, to tell builds apart")
    parser.add_argument("--images", type=Path, help="a directory of image archives (*.tar) to bring along")
    told = parser.parse_args()
    hosts = SUITES[told.suite] if told.suite else here()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "bundle"
        made.mkdir()
        release = fill(made, hosts, told.label, wheels=not told.no_wheels)
        told.directory.mkdir(parents=True, exist_ok=True)
        with tarfile.open(told.directory / "programs.tar", "w") as archive:
            archive.add(made, "bundle")
    shutil.rmtree(told.directory / "debs", ignore_errors=True)
    if told.debs:
        of = [f"--suite={told.suite}", f"--mirror={told.mirror}"] if hosts != here() else []
        fetch = [sys.executable, str(ROOT / "tools" / "debs.py"), *of, str(told.directory / "debs")]
        subprocess.run([*fetch, *debs()], check=True)
        release["debs"] = hosts.distribution
    (told.directory / "release.json").write_text(json.dumps(release, indent=2) + "\n")
    (told.directory / "debs.txt").write_text("\n".join(debs()) + "\n")
    images = told.directory / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    for image in sorted(told.images.glob("*.tar")) if told.images else ():
        shutil.copy2(image, images)
    size = sum(f.stat().st_size for f in told.directory.rglob("*") if f.is_file()) / 1e6
    print(f"{release['release']} in {told.directory}: {size:.0f} MB, Python {release['python']}, Ray {release['ray']}")
    return 0


def fill(made: Path, hosts: Hosts, label: str, *, wheels: bool) -> dict[str, object]:
    """Puts the programs into a directory; returns what release.json says of them."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), str(ROOT)], check=True
    )
    (wheel,) = made.glob("*.whl")
    pins = pinned(ROOT / "constraints.txt", needed(hosts.python))
    (made / "requirements.txt").write_text("".join(pins.values()))
    if wheels:
        subprocess.run(
            [*pip, "download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(made / "wheels"),
             f"--python-version={hosts.python}", "-r", str(made / "requirements.txt")],
            check=True,
        )  # fmt: skip
    content = content_of(wheel) + (made / "requirements.txt").read_bytes() + hosts.python.encode()
    digest = hashlib.sha256(content).hexdigest()
    return {
        "release": f"{distribution(PROJECT).version}-{digest[:12]}{label and '-'}{label}",
        "wheel": wheel.name,
        "wheels": wheels,
        "python": hosts.python,
        "machine": platform.machine(),
        "ray": distribution("ray").version,
    }


def content_of(wheel: Path) -> bytes:
    """The digests of a wheel's files: the same for the same files, whenever it was made."""
    with zipfile.ZipFile(wheel) as archive:
        return "".join(f"{i.filename} {i.CRC}\n" for i in sorted(archive.infolist(), key=lambda i: i.filename)).encode()


def needed(python: str) -> set[str]:
    """The names of all that the mesh needs to run with a Python, as this environment has them."""
    there = {"extra": "", "python_version": python, "python_full_version": f"{python}.0"}
    found: set[str] = set()
    left = [PROJECT]
    while left:
        for text in requires(left.pop()) or ():
            wanted = Requirement(text)
            name = canonical(wanted.name)
            if name in found or (wanted.marker and not wanted.marker.evaluate(there)):
                continue
            try:
                distribution(name)
            except PackageNotFoundError:
                continue
            found.add(name)
            left.append(name)
    return found


def pinned(constraints: Path, names: set[str]) -> dict[str, str]:
    """The entries of constraints.txt with these names, hashes and all."""
    entries = re.findall(r"^\S.*?(?=^\S|\Z)", constraints.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = {canonical(re.split(r"[=\s\[]", entry, maxsplit=1)[0]): entry for entry in entries}
    if missing := names - found.keys():
        raise SystemExit(f"constraints.txt does not pin {', '.join(sorted(missing))}: make pin")
    return {name: found[name] for name in sorted(names)}


def canonical(name: str) -> str:
    """A project's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def debs() -> list[str]:
    """The system packages that hosts need, as the roles install them."""
    texts = [path.read_text() for path in sorted((ROOT / "ansible" / "roles").glob("*/defaults/main.yml"))]
    blocks = [
        block for text in texts for block in re.findall(r"^\w*packages:\n((?:  - .*\n)+)", text, flags=re.MULTILINE)
    ]
    return sorted({line.removeprefix("  - ") for block in blocks for line in block.splitlines()})


def here() -> Hosts:
    """Hosts like this machine."""
    told = platform.freedesktop_os_release()
    return Hosts(f"{told['ID'].capitalize()} {told['VERSION_ID']}", ".".join(platform.python_version_tuple()[:2]))


if __name__ == "__main__":
    sys.exit(main())
