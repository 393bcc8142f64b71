"""Memory for Secrets of 1 MiB each: of meshd, which holds all of them, and of a host's agent, which holds those of its
pods as far as its budget goes.

`python benchmarks/secret_memory.py [--secrets 1000] [--directory DIRECTORY]`; needs no mesh, and twice that much disk.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mesh.fleet.entrusting import Entrusting
from mesh.fleet.needs import needs_of
from mesh.meshd import Meshd, Settings
from mesh.model.kinds import key_of
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring
from mesh.store.port import Snapshot, Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import Node, Pod, Secret
from mesh.v1.node_pb2 import Assignment, HostKey, Observed
from mesh.view import View
from nodeagent.secrets import Held
from nodeagent.volumes.vault import Vault

SIZE = 1 << 20


def secret(number: int) -> Secret:
    """One of them."""
    made = Secret(type="Opaque", data={"value": os.urandom(SIZE)})
    made.metadata.name, made.metadata.namespace, made.metadata.uid = f"s{number}", "default", f"uid-{number}"
    return made


def resident() -> int:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


class NoHosts:
    """Hosts that are none."""

    state = "connected"

    def agents(self) -> Mapping[str, object]:
        """None."""
        return {}

    async def changed(self) -> None:
        """Never."""
        await asyncio.Future()


async def control(count: int, directory: Path) -> None:
    """meshd without its API, over a real store."""
    store = await SqliteStore.open(directory / "store.db", EncryptedCodec(Keyring([os.urandom(32)])))
    meshd = Meshd(store, NoHosts(), None, Settings())  # type: ignore[arg-type]  # nobody looks at the agents
    task = asyncio.create_task(meshd.run())
    await meshd.serving.wait()
    before = resident()
    for number in range(count):
        made = secret(number)
        await store.commit([Write(key_of(made), made, 0)])
    await meshd.feed.reached(count)
    print(f"meshd: {before} MiB without, {resident()} MiB with {count} Secrets of 1 MiB")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def host(count: int) -> None:
    """Gives a host, which is another process, the Secrets of pods that each refer to another one."""
    node = Node()
    node.metadata.name, node.spec.pod_cidr = "a", "10.244.0.0/24"
    pods = [Pod() for _ in range(count)]
    for number, pod in enumerate(pods):
        pod.metadata.name, pod.metadata.namespace, pod.metadata.uid = f"p{number}", "default", f"p{number}"
        pod.metadata.creation_timestamp.seconds, pod.spec.node_name = number, "a"
        pod.spec.volumes.add(name="v").secret.secret_name = f"s{number}"
    link = Entrusting("a", None, lambda: 0)
    view = View(Snapshot(1, [node, *pods, *(secret(number) for number in range(count))]))
    command = [sys.executable, __file__, "--part", "vault"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220 - alone
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("pipes were asked for")
        suite, public = process.stdout.readline().decode().split()
        key = HostKey(suite=suite, public_key=bytes.fromhex(public))
        link.hear(Observed(node="a", boot="b", key=key))
        wanted = needs_of("a", view, "10.244.0.0/16", 1, link.state)
        if wanted is None:
            raise RuntimeError("the host has no range")
        order = (await link.order(wanted, view)).SerializeToString()
        process.stdin.write(order)
        process.stdin.close()
        given, withheld = len(wanted.sealed_secrets), len(wanted.withheld_secrets)
        why = wanted.withheld_secrets[0].reason if withheld else "-"
        print(f"agent: order of {len(order) >> 20} MiB; {given} of {count} Secrets given, {withheld} withheld: {why}")
        print(process.stdout.read().decode(), end="")


def vault() -> None:
    """A host's vault."""
    held = Vault("a")
    before = resident()
    print(held.public.suite, held.public.raw.hex(), flush=True)
    order = Assignment.FromString(sys.stdin.buffer.read())
    held.take(order.sealed_secrets)
    holding, opened = resident(), 0
    for entry in order.sealed_secrets:
        refs = {entry.name: Held(entry.uid, entry.revision)}
        opened += len(held.open("default", refs).data[entry.name]["value"])
    print(f"agent: {before} MiB without, {holding} MiB with the order that it took, {resident()} MiB after opening "
          f"{opened >> 20} MiB one after another")  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--part", choices=("meshd", "agent", "vault"))
    options = parser.parse_args()
    if options.part == "agent":
        asyncio.run(host(options.secrets))
    elif options.part == "vault":
        vault()
    elif options.part == "meshd":
        asyncio.run(control(options.secrets, options.directory))
    else:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            for part in ("meshd", "agent"):
                command = [sys.executable, __file__, "--part", part, "--secrets", str(options.secrets)]
                subprocess.run([*command, "--directory", directory], check=True)


if __name__ == "__main__":
    main()
