"""Watches every pod of the stage by the API, and says when all is well: `python -m tests.matrix.witness`.

Reads one word a line and answers each with one line of JSON: `well` (is everything as it should be; why not), `mark`
(count from here), `seen` (since the mark: how many Ready conditions went, and the objects there are now). The watch
goes on when meshd comes back, as every client's does.
"""

import asyncio
import json
import sys
from typing import Any

from mesh.errors import MeshError
from mesh.model.kinds import Object, key_of
from mesh.sdk import AsyncClient
from mesh.v1.core_pb2 import Pod

KINDS = ("Node", "Namespace", "ConfigMap", "Secret", "Service", "Deployment", "StatefulSet", "PersistentVolumeClaim")
STAGE = "matrix"  # the label of the pods that are looked at


class Witness:
    """What was seen since the mark."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._ready: dict[str, bool] = {}
        self._flips = 0

    async def watch(self) -> None:
        """For ever."""
        async for change in self._client.watch(Pod, namespace="default", labels=STAGE):
            pod = change.object
            going = change.type == "DELETED" or pod.metadata.HasField("deletion_timestamp")
            ready = any((c.type, c.status) == ("Ready", "True") for c in pod.status.conditions)
            if self._ready.get(pod.metadata.uid) and not ready and not going:
                self._flips += 1
            self._ready[pod.metadata.uid] = ready

    async def answer(self, word: str) -> dict[str, Any]:
        """To one word."""
        if word == "mark":
            self._flips = 0
        if word == "well":
            why = await self._not_well()
            return {"well": not why, "why": why}
        return {"flips": self._flips, "objects": await self._objects()}

    async def _objects(self) -> dict[str, str]:
        """Their uids by key. Pods come and go; a Node is made anew with its host's disk."""
        found: list[Object] = []
        for kind in KINDS:
            found += await self._client.list(kind, namespace="default")
        return {str(key_of(obj)): "" if key_of(obj).kind == "Node" else obj.metadata.uid for obj in found}

    async def _not_well(self) -> str:
        try:
            status = await self._client.status()
            for host in status.hosts:
                if not (host.connected and host.assignment_held):
                    return f"{host.name} is not connected, or does not hold its orders"
            for kind, count in (("Deployment", "ready_replicas"), ("StatefulSet", "ready_replicas")):
                for obj in await self._client.list(kind, namespace="default"):
                    there, wanted = getattr(obj.status, count), obj.spec.replicas  # type: ignore[union-attr]
                    if there != wanted:
                        return f"{kind} {obj.metadata.name}: {there} of {wanted} are ready"
            for node in await self._client.list("Node"):
                if not any((c.type, c.status) == ("Ready", "True") for c in node.status.conditions):  # type: ignore[union-attr]
                    return f"{node.metadata.name} is not Ready"
            pods = await self._client.list(Pod, namespace="default", labels=STAGE)
            if going := [p.metadata.name for p in pods if p.metadata.HasField("deletion_timestamp")]:
                return f"still going: {', '.join(going)}"
        except MeshError as error:
            return str(error)
        return ""


async def main() -> None:
    """Until standard input ends."""
    async with AsyncClient(timeout=10.0) as client:
        witness = Witness(client)
        watching = asyncio.create_task(witness.watch())
        while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
            print(json.dumps(await witness.answer(word)), flush=True)
            if watching.done():
                watching.result()
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
