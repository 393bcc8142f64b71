"""Runs examples/hello and shows what its pod answers: `python tools/hello.py`, on a host with a mesh."""

import sys
import urllib.request
from pathlib import Path

from mesh.errors import MeshError
from mesh.sdk import Client
from mesh.v1.core_pb2 import Pod

MANIFEST = Path(__file__).resolve().parent.parent / "examples" / "hello" / "pod.yaml"
NEXT = """
Try next:
  export PATH=$PWD/.venv/bin:$PATH
  mesh get pods -o wide                   mesh describe pod hello
  mesh logs hello -c writer --tail 3      mesh exec -it hello -c web -- sh
  mesh port-forward hello 8080:8080       mesh doctor
  mesh delete pod hello                   mesh down [--purge]
"""


def fetch(url: str) -> str:
    """The page at `url`."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a port-forward of our own
        return str(answer.read().decode()).strip()


def main() -> int:
    """Command line; returns the exit code."""
    try:
        with Client() as mesh:
            mesh.apply(MANIFEST)
            print("waiting for pod hello …", flush=True)
            mesh.wait(Pod, "hello", condition="Ready", timeout=60)
            with mesh.port_forward("hello", 8080) as forward:
                page = fetch(f"http://127.0.0.1:{forward.port}/")
            print("the pod answers:", page)
    except (MeshError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(NEXT, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
