"""Several meshd as programs, over one etcd: started, killed, and asked through the SDK by the whole list of addresses.

async with members(tmp_path, cluster, "a", "b") as mesh:
    leader = await mesh.leader(); mesh.kill(leader)
"""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.errors import MeshError
from mesh.sdk.client import AsyncClient
from mesh.sdk.context import Context
from mesh.store.keyring import create_key_file
from mesh.v1.control_pb2 import StatusResponse
from tests.harness.control import test_pki
from tests.harness.etcd import EtcdCluster
from tests.harness.ports import free_ports

DEADLINE = 60.0
_CONFIG = """
listen = ["127.0.0.1:{port}"]
listen_tokens = ["127.0.0.1:{door}"]
data_dir = "{data}"
key_file = "{root}/store.key"
[pki]
authority = "{data}/pki"
ca = "{data}/pki/ca.crt"
certificate = "{data}/pki/meshd.crt"
key = "{data}/pki/meshd.key"
[etcd]
endpoints = [{endpoints}]
ca = "{files[ca]}"
certificate = "{files[certificate]}"
key = "{files[key]}"
lease_seconds = {lease}
prefix = "/{root.name}/"
name = "{name}"
advertise = "127.0.0.1:{port}"
"""


@dataclass(slots=True)
class Members:
    """`ports` by name; `doors`: where tokens are taken."""

    root: Path
    ports: dict[str, int]
    doors: dict[str, int]
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    def context(self, *names: str) -> Context:
        """The administrator's, with the addresses of these; of all when none is named."""
        servers = tuple(f"127.0.0.1:{self.ports[name]}" for name in names or self.ports)
        admin = test_pki().admin
        return Context(servers, str(self.root / "ca.pem"), admin.certificate.decode(), admin.key.decode())

    async def start(self, name: str) -> None:
        """Returns once it answers, leading or not."""
        path = self.root / f"{name}.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, self.log(name).open("ab") as log:
            notified.bind(str(path))
            notified.setblocking(False)
            self.processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mesh.app", "--config", str(self.root / f"{name}.toml"),
                env={**os.environ, "NOTIFY_SOCKET": str(path)}, stderr=log,
            )  # fmt: skip
            async with asyncio.timeout(DEADLINE):
                said = await asyncio.get_running_loop().sock_recv(notified, 100)
        assert said == b"READY=1", self.log(name).read_text()

    async def kill(self, name: str) -> None:
        """As the kernel would when memory is short."""
        process = self.processes.pop(name)
        process.kill()
        await process.wait()

    async def stop(self, name: str) -> int:
        """In good order; returns the exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return await process.wait()

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    async def leader(self) -> str:
        """The name of the one that leads, as any of them says."""
        async with AsyncClient(self.context()) as client:
            return next(member.name for member in (await client.status()).control_members if member.leads)

    async def status(self, client: AsyncClient, holds: Callable[[StatusResponse], bool]) -> None:
        """Returns once the status is so."""
        async with asyncio.timeout(DEADLINE):
            while True:
                if holds(await client.status()):
                    return
                await asyncio.sleep(0.1)

    async def writes(self, client: AsyncClient, manifest: str) -> None:
        """Applies until it is taken."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await client.apply(manifest)
                except MeshError:
                    await asyncio.sleep(0.05)
                else:
                    return


def config(root: Path, data: Path, etcd: EtcdCluster, *, name: str, port: int, door: int = 0, lease: int = 5) -> str:
    """A meshd.toml: the store is in this etcd, whose certificates are written below `root`. `door`: the port for
    tokens; `lease` in seconds."""
    files = etcd.write_pki(root)
    endpoints = ", ".join(f'"{endpoint}"' for endpoint in etcd.clients)
    return _CONFIG.format(
        root=root, data=data, name=name, port=port, door=door, endpoints=endpoints, lease=lease, files=files
    )


@asynccontextmanager
async def members(root: Path, etcd: EtcdCluster, *names: str, lease: int = 5) -> AsyncIterator[Members]:
    """They run; all of them are killed at the end."""
    (root / "ca.pem").write_bytes(test_pki().ca.certificate)
    create_key_file(root / "store.key")
    free = free_ports(2 * len(names))
    ports, doors = (dict(zip(names, found, strict=True)) for found in (free[: len(names)], free[len(names) :]))
    for name, port in ports.items():
        _certify(root / name / "pki")
        shutil.copy(root / "store.key", root / name / "store.key")  # each host has its own file
        text = config(root, root / name, etcd, name=name, port=port, door=doors[name], lease=lease)
        (root / f"{name}.toml").write_text(text.replace(f"{root}/store.key", f"{root}/{name}/store.key"))
    mesh = Members(root, ports, doors)
    try:
        for name in names:
            await mesh.start(name)
        yield mesh
    finally:
        for name in list(mesh.processes):
            await mesh.kill(name)


def _certify(directory: Path) -> None:
    """What every control host has the same: the authority with its key, and meshd's own."""
    directory.mkdir(mode=0o700, parents=True)
    certs = test_pki()
    for name, pair in (("ca", certs.ca), ("meshd", certs.server)):
        (directory / f"{name}.crt").write_bytes(pair.certificate)
        (directory / f"{name}.key").write_bytes(pair.key)
