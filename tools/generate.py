"""Generates mesh/v1 from proto/: `python tools/generate.py`; with --check it fails when mesh/v1 is not current."""

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(into: Path) -> None:
    """Writes modules and type stubs of every proto file below `into`; raises SystemExit when one does not compile."""
    protos = sorted(str(p) for p in (ROOT / "proto" / "mesh" / "v1").glob("*.proto"))
    outs = ["python", "grpc_python", "mypy", "mypy_grpc"]
    include = [f"-I{ROOT / 'proto'}", f"-I{files('grpc_tools') / '_proto'}"]
    if protoc.main(["protoc", *include, *[f"--{out}_out={into}" for out in outs], *protos]):
        raise SystemExit("cannot generate mesh/v1: protoc failed")
    for module in (into / "mesh" / "v1").glob("*_pb2_grpc.py*"):
        if "Stub" not in module.read_text():
            module.unlink()  # of a file without a service
    (into / "mesh" / "v1" / "__init__.py").write_text('"""Generated from proto/mesh/v1 by tools/generate.py."""\n')


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when mesh/v1 is not current")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = sorted(p.name for p in (Path(scratch) / "mesh/v1").iterdir())
        held = sorted(p.name for p in (ROOT / "mesh/v1").iterdir() if p.is_file())
        _, stale, missing = filecmp.cmpfiles(Path(scratch) / "mesh/v1", ROOT / "mesh/v1", fresh, shallow=False)
    stale += [name for name in held if name not in fresh] + missing
    if stale:
        print(f"mesh/v1 is not current ({', '.join(sorted(set(stale)))}): run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
