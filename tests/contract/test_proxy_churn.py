"""The proxy under clients of every kind: bytes match, and nothing grows."""

import asyncio
import hashlib
import os
import random
import socket
import struct
from pathlib import Path

from tests.harness.proxying import DEADLINE, PORT, an_address, backend, echo, endpoint, proxy, service


async def test_bytes_match_whatever_clients_do(tmp_path: Path) -> None:
    """Half-closes, slow readers, one-byte writes and large bodies; MESH_CONNECTIONS for more than the short run."""
    number = int(os.environ.get("MESH_CONNECTIONS") or "300")
    vip, chance = an_address(), random.Random(5)
    async with backend(echo) as a, backend(echo) as b, proxy(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)]))
        gate = asyncio.Semaphore(20)

        async def one(seed: float) -> None:
            async with gate:
                await _converse(vip, random.Random(seed), huge=number >= 10_000)

        await asyncio.gather(*(one(i) for i in range(50)))
        descriptors = held(process.pid)
        memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        for start in range(0, number, 500):
            await asyncio.gather(*(one(chance.random()) for _ in range(start, min(number, start + 500))))
        async with asyncio.timeout(DEADLINE):
            while any(b.open for s in (await programmer.flows()).services for b in s.backends):
                await asyncio.to_thread(lambda: None)
            while (after := held(process.pid)) > descriptors:  # a connection is counted out before it is closed
                await programmer.flows()
        grown = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    print(f"\n{number} connections: descriptors {descriptors} -> {after}, {memory * 4} -> {grown * 4} kB resident")
    assert grown < memory * 1.5 + 4096


def held(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


SIZES = {
    "small": 500, "bytes": 40, "large": 3_000_000, "reset": 100_000, "slow": 400_000, "silent": 0, "huge": 100_000_000
}  # fmt: skip


async def _converse(vip: str, chance: random.Random, *, huge: bool) -> None:
    kind = chance.choice(["small", "bytes", "large", "reset", "slow", "silent"])
    if huge and chance.random() < 0.0005:
        kind = "huge"
    size = SIZES[kind]
    body = chance.randbytes(size)
    async with asyncio.timeout(DEADLINE * (20 if kind == "huge" else 3)):
        reader, writer = await asyncio.open_connection(vip, PORT)

        async def write() -> None:
            step = 1 if kind == "bytes" else 65536
            for start in range(0, size, step):
                writer.write(body[start : start + step])
                await writer.drain()
            if kind != "reset":
                writer.write_eof()

        writing = asyncio.create_task(write())
        try:
            if kind == "reset":
                await reader.read(1000)
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writing.cancel()
                writer.transport.abort()
                return
            got = hashlib.sha256()
            while data := await reader.read(1000 if kind == "slow" else 1 << 18):
                got.update(data)
            await writing
            assert got.digest() == hashlib.sha256(body).digest(), kind
        finally:
            writer.close()
            await asyncio.gather(writing, return_exceptions=True)
