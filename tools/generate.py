"""Generates mesh/v1 and mesh/etcd from proto/: `python tools/generate.py`; with --check it fails when they are not
current."""

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mesh/v1", "mesh/etcd")


def generate(into: Path) -> None:
    """Writes modules and type stubs of every proto file below `into`; raises SystemExit when one does not compile."""
    protos = sorted(str(p) for package in PACKAGES for p in (ROOT / "proto" / package).glob("*.proto"))
    outs = ["python", "grpc_python", "mypy", "mypy_grpc"]
    include = [f"-I{ROOT / 'proto'}", f"-I{files('grpc_tools') / '_proto'}"]
    if protoc.main(["protoc", *include, *[f"--{out}_out={into}" for out in outs], *protos]):
        raise SystemExit("cannot generate the code of proto/: protoc failed")
    for package in PACKAGES:
        for module in (into / package).glob("*_pb2_grpc.py*"):
            if "Stub" not in module.read_text():
                module.unlink()  # of a file without a service
        (into / package / "__init__.py").write_text(f'"""Generated from proto/{package} by tools/generate.py."""\n')


def stale(package: str, fresh_root: Path) -> list[str]:
    """The files of a package that are not what proto/ says."""
    fresh = sorted(p.name for p in (fresh_root / package).iterdir())
    held = sorted(p.name for p in (ROOT / package).iterdir() if p.is_file())
    _, changed, missing = filecmp.cmpfiles(ROOT / package, fresh_root / package, fresh, shallow=False)
    return sorted({f"{package}/{name}" for name in (*changed, *missing, *(n for n in held if n not in fresh))})


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the code is not current")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        old = [name for package in PACKAGES for name in stale(package, Path(scratch))]
    if old:
        print(f"generated code is not current ({', '.join(old)}): run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
