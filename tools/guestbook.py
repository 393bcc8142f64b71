"""Runs examples/guestbook and shows what it answers: `python tools/guestbook.py`, on a host with a mesh."""

import sys
import urllib.request
from pathlib import Path

from mesh.errors import MeshError
from mesh.sdk import Client
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Pod
from mesh.v1.net_pb2 import Service

MANIFEST = Path(__file__).resolve().parent.parent / "examples" / "guestbook" / "guestbook.yaml"
NEXT = """
Try next, or read examples/guestbook/README.md:
  export PATH=$PWD/.venv/bin:$PATH
  mesh get all                            mesh describe deployment guestbook
  mesh logs deployment/guestbook          mesh exec -it store-0 -- sh
  mesh port-forward service/guestbook 8080:80
  mesh set image deployment/guestbook pages=localhost/guestbook:2
  mesh rollout status deployment/guestbook && mesh rollout undo deployment/guestbook
  mesh delete -f examples/guestbook/guestbook.yaml         mesh down [--purge]
"""


def fetch(url: str, line: str = "") -> str:
    """The page at `url`, after writing a line there."""
    with urllib.request.urlopen(url, line.encode() or None, timeout=10) as answer:  # noqa: S310 - a Service of our own
        return str(answer.read().decode()).strip()


def main() -> int:
    """Command line; returns the exit code."""
    try:
        with Client() as mesh:
            mesh.apply(MANIFEST)
            print("waiting for the guestbook …", flush=True)
            mesh.wait(Deployment, "guestbook", condition="Available", timeout=60)
            mesh.wait(Pod, "store-0", condition="Ready", timeout=60)
            address = mesh.get(Service, "guestbook").spec.cluster_ip
            page = fetch(f"http://{address}/", "make up was here")
        print(f"http://{address}/ answers:\n  " + page.replace("\n", "\n  "))
    except (MeshError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(NEXT, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
