"""A rotated Secret to new file content in running containers, on all hosts: milliseconds from before the change, for
each pod; and to the last of the hosts' receipts.

`python benchmarks/rotation.py [--pods 50] [--rounds 10] [--host NAME=DIRECTORY …]`; needs a running mesh (`make up`)
and root: volumes are watched where they lie, as containers see them through their mounts. DIRECTORY is a host's root
as this process reaches it.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mesh.sdk import AsyncClient
from mesh.sdk.secrets import Secrets
from mesh.v1.core_pb2 import Pod, Secret

sys.path.insert(0, str(Path(__file__).parent))
import volumes

NAMESPACE = "bench-secrets"
LOGIN = """\
apiVersion: v1
kind: Secret
metadata: {{name: login, namespace: {namespace}}}
stringData: {{value: "{value}"}}
"""


async def run(hosts: Mapping[str, Path], image: str, count: int, rounds: int) -> None:
    """Makes the pods, rotates their Secret again and again, prints, removes everything."""
    async with AsyncClient() as client:
        await client.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n")
        try:
            await _measure(client, hosts, image, count, rounds)
        finally:
            await client.delete("Namespace", NAMESPACE)
            await client.wait("Namespace", NAMESPACE, delete=True, timeout=120)


async def _measure(client: AsyncClient, hosts: Mapping[str, Path], image: str, count: int, rounds: int) -> None:
    places = list(hosts)
    nodes = {f"p{number}": places[number % len(places)] for number in range(count)}
    texts = [volumes.pod(name, NAMESPACE, image, "secret: {secretName: login}", node) for name, node in nodes.items()]
    await client.apply(LOGIN.format(namespace=NAMESPACE, value="0") + "".join(texts))
    shown = {}
    for name, node in nodes.items():
        await client.wait(Pod, name, namespace=NAMESPACE, condition="Ready", timeout=300)
        pod = await client.get(Pod, name, namespace=NAMESPACE)
        shown[name] = hosts[node] / "run" / "volumes" / pod.metadata.uid / "files"
    before = await containers(client)
    times: list[float] = []
    receipts: list[float] = []
    for number in range(1, rounds + 1):
        looking = asyncio.create_task(asyncio.to_thread(volumes.changed, shown, str(number), 30))
        await asyncio.sleep(0.2)
        began = time.perf_counter()
        await client.apply(LOGIN.format(namespace=NAMESPACE, value=number))
        revision = (await client.get(Secret, "login", namespace=NAMESPACE)).metadata.resource_version
        times += [(at - began) * 1000 for at in (await looking).values()]
        while True:
            told = await Secrets(client.over).delivery("login", NAMESPACE)
            if told.revision == revision and all(d.current for d in told.deliveries):
                break
        receipts.append((time.perf_counter() - began) * 1000)
        if len(told.deliveries) != count:
            raise RuntimeError(f"{len(told.deliveries)} receipts of {count} pods")
    untouched = "no container touched" if before == await containers(client) else "CONTAINERS WERE TOUCHED"
    print(f"{count} pods on {len(hosts)} hosts, {rounds} rotations: new files after "
          f"{volumes.words(times)}; all receipts after median "
          f"{statistics.median(receipts):.0f} ms, longest {max(receipts):.0f} ms; {untouched}")  # fmt: skip


async def containers(client: AsyncClient) -> dict[str, list[tuple[str, int]]]:
    """Id and restarts of each pod's containers."""
    pods = await client.list(Pod, namespace=NAMESPACE)
    return {
        pod.metadata.name: [(s.container_id, s.restart_count) for s in pod.status.container_statuses] for pod in pods
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--image", default="localhost/mesh-hello:1", help="with /bin/busybox; on every host")
    parser.add_argument("--host", action="append", default=[], metavar="NAME=DIRECTORY")
    options = parser.parse_args()
    hosts = {name: Path(root) for name, _, root in (text.partition("=") for text in options.host)}
    asyncio.run(run(hosts or {"": Path("/var/lib/mesh")}, options.image, options.pods, options.rounds))


if __name__ == "__main__":
    main()
