"""How long the mesh takes no writes when its leader ends: `python -m benchmarks.takeover [TIMES]`.

Two meshd and three members of etcd on this machine; the leader is killed, or stopped in good order, and time runs from
then until a client that knows both has a write taken.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from mesh.sdk.client import AsyncClient
from tests.harness.etcd import etcd_cluster
from tests.harness.members import members

_CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"


async def measure(times: int, lease: int, root: Path) -> None:
    """Prints a line for each way to end."""
    (root / "etcd").mkdir()
    (root / "meshd").mkdir()
    with etcd_cluster(root / "etcd", members=3) as etcd:
        async with members(root / "meshd", etcd, "a", "b", lease=lease) as mesh:
            for what, end in (("killed", mesh.kill), ("stopped", mesh.stop)):
                took = []
                for number in range(times):
                    leader = await mesh.leader()
                    async with AsyncClient(mesh.context(), timeout=10) as client:
                        await client.apply(_CONFIG.format(name=f"before-{what}-{number}"))
                        began = time.monotonic()
                        await end(leader)
                        await mesh.writes(client, _CONFIG.format(name=f"{what}-{number}"))
                        took.append(time.monotonic() - began)
                    await mesh.start(leader)
                figures = f"{min(took):.1f} / {statistics.median(took):.1f} / {max(took):.1f} s"
                print(f"lease {lease} s, leader {what} {times} times: least / median / most {figures}")


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for lease in (2, 5):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(measure(times, lease, Path(directory)))


if __name__ == "__main__":
    main()
