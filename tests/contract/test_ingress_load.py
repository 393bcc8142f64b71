"""Requests over HTTPS through Ingress while everything changes; MESH_INGRESS_REQUESTS=200000 for the long one."""

import asyncio
import os
from collections import Counter

import pytest

from tests.harness.ingress import Mesh, ask
from tests.harness.ingresstexts import PREFIX, ingress, path, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS = int(os.environ.get("MESH_INGRESS_REQUESTS") or "0") or 1500
CHANGES = 8  # at least


class Load:
    """Clients that keep their connections and ask over HTTPS until it is over."""

    def __init__(self, mesh: Mesh, host: str) -> None:
        self.mesh, self.host = mesh, host
        self.asked, self.wrong = 0, Counter[str]()
        self.over = asyncio.Event()

    async def client(self) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.over.is_set():
            fresh = connection is None
            connection = connection or await self.mesh.connect(self.host)
            try:
                answer = await ask(*connection, self.host, "/load")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if fresh:  # one that was kept may be closed between two requests: clients ask again
                    self.wrong[repr(error)] += 1
                connection[1].close()
                connection = None
                continue
            self.asked += 1
            if answer.status != 200:
                self.wrong[f"{answer.status} {answer.body!r}"] += 1
            if answer.headers.get("connection") == "close":
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()


@pytest.mark.timeout(300 + REQUESTS // 100)
async def test_nothing_fails_while_pods_routes_and_certificates_change(mesh: Mesh) -> None:
    host, turn = "load.test", 0
    await mesh.service("load", "load-0", "load-1", "load-2")
    mesh.secret("load", host)
    tls = f", tls: [{{hosts: [{host}], secretName: load}}]"
    mesh.apply(ingress(rule(host, path("/", PREFIX, "load")), name="load", more=tls))
    await mesh.changed()
    load = Load(mesh, host)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(load.client())
        while load.asked < REQUESTS or turn < CHANGES:
            turn += 1
            await mesh.pod(f"load-{turn + 2}", "load")
            mesh.unready(f"load-{turn - 1}")
            mesh.secret("load", host, serial=turn)
            if turn % 4 == 0:
                mesh.apply(ingress(rule(f"r{turn}.test", path("/", PREFIX, "foo")), name=f"more-{turn % 3}"))
            await mesh.changed()
        load.over.set()
    print(f"\n{load.asked} requests, {turn} changes")
    assert load.wrong == Counter()
