"""A program in a pod: what the SDK finds there by itself, and what its service account may; a JSON line, then it waits.

pod_client.py PATH...     where the packages are that it imports
"""

import json
import sys
import time

sys.path[:0] = sys.argv[1:]

from mesh.errors import MeshError  # noqa: E402 - only now is it found
from mesh.sdk import Client  # noqa: E402
from mesh.sdk.context import load  # noqa: E402
from mesh.v1.core_pb2 import Pod  # noqa: E402


def refusal(client: Client, namespace: str) -> str:
    """Why pods of a namespace are not shown."""
    try:
        client.list(Pod, namespace=namespace)
    except MeshError as error:
        return f"{type(error).__name__}: {error.message}"
    return ""


def main() -> None:
    """Asks once, and tells."""
    found = load()
    with Client() as client:
        told = {
            "context": found.name,
            "server": found.servers[0],
            "pods": sorted(pod.metadata.name for pod in client.list(Pod)),
            "refused": refusal(client, "kube-system"),
        }
    print(json.dumps(told), flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    main()
