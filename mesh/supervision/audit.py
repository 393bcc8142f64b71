"""The audit of this host: a canary secret lives through a pod, and then every disk is searched for it.

Rule: the canary is random and is used as users use theirs: in files, environment and arguments, executed in, rotated,
deleted. Nothing of it is printed. What was searched is told, and what was not, with the reason.
"""

import asyncio
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from mesh.errors import Invalid, Unavailable
from mesh.model import manifest
from mesh.sdk.client import AsyncClient
from mesh.sdk.secrets import Secrets
from mesh.supervision import traces
from mesh.supervision.layout import Layout
from mesh.supervision.traces import Searched
from mesh.v1.core_pb2 import Namespace, Node, Pod, Secret

Say = Callable[[str], None]
NAME = "canary"
MINUTE = 60.0

# Where programs that are not told otherwise put what is ours: OCI runtimes, Podman, systemd.
BESIDE = ("/run/crun", "/run/runc", "/run/containers", "/var/lib/containers", "/var/log/journal")


def canary() -> str:
    """A word that nobody else has, with characters that escapes change."""
    return f"canary/{secrets.token_hex(16)}+=&%é"


class Audit:
    """`node` is this host's name in the mesh; `image` has `sh` and `sleep`, empty: one that the host holds."""

    def __init__(self, client: AsyncClient, layout: Layout, node: str, image: str, say: Say) -> None:
        self._client = client
        self._layout = layout
        self._node = node
        self._image = image
        self._say = say
        self._namespace = f"mesh-audit-{secrets.token_hex(4)}"
        self._words = [canary(), canary()]
        self.seen = Searched()

    async def run(self) -> Searched:
        """Everything; what was made for it is removed, whatever happens. Raises Unavailable when the pod can't run."""
        image = self._image or await self._some_image()
        self._say(f"planting a canary in namespace {self._namespace}, with image {image}")
        await self._client.create(_namespace(self._namespace))
        try:
            await self._client.create(_secret(self._namespace, self._words[0]))
            await self._live("first", image)
            await self._search("while a pod uses it")
            self._say("rotating it")
            await self._rotate()
            await self._live("second", image)
            await self._search("after its rotation")
        finally:
            self._say("deleting it")
            await self._client.delete(Namespace, self._namespace)
            await self._client.wait(Namespace, self._namespace, delete=True, timeout=MINUTE)
        await self._search("after its deletion")
        return self.seen

    async def _some_image(self) -> str:
        node = await self._client.get(Node, self._node)
        names = [name for image in node.status.images for name in image.names if "@" not in name]
        if not names:
            raise Invalid("this host holds no image: name one that has sh and sleep, by --image")
        return sorted(names, key=lambda name: not name.startswith("localhost/"))[0]

    async def _live(self, name: str, image: str) -> None:
        """A pod that has the secret everywhere, and in which a command is executed."""
        await self._client.create(_pod(self._namespace, name, self._node, image))
        try:
            await self._client.wait(Pod, name, condition="Ready", namespace=self._namespace, timeout=MINUTE)
        except TimeoutError as error:
            why = "does the image have sh and sleep? name one by --image"
            raise Unavailable(f"the audit's pod does not run: {error}; {why}") from None
        test = 'test "$TOKEN" = "$(cat /canary/token)" && test -n "$TOKEN"'
        if (await self._client.exec(name, ["sh", "-c", test], namespace=self._namespace)).exit_code:
            raise Unavailable("the audit's pod was not told the secret: it proves nothing")

    async def _rotate(self) -> None:
        held = await self._client.get(Secret, NAME, namespace=self._namespace)
        held.data["token"] = self._words[1].encode()
        await self._client.update(held)
        async with asyncio.timeout(MINUTE):
            while not await self._shown():  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.2)  # receipts tell nobody when they come

    async def _shown(self) -> bool:
        told = await Secrets(self._client.over).delivery(NAME, self._namespace)
        return all(d.current for d in told.deliveries if d.where.startswith("volume"))

    async def _search(self, when: str) -> None:
        self._say(f"searching {when}")
        self.seen.add(await asyncio.to_thread(self._look))

    def _look(self) -> Searched:
        subprocess.run(["sync"], check=False)
        seen = traces.search([self._layout.root, *map(Path, BESIDE)], self._words)
        for place, text in self._said():
            seen.add(traces.search_text(place, text, self._words))
        return seen

    def _said(self) -> Iterator[tuple[str, bytes]]:
        """What programs say, and how they were called."""
        yield "podman inspect of all containers", _inspected(self._layout.podman_socket)
        yield "command lines of all processes", b"\n".join(_command_lines())


def _command_lines() -> Iterator[bytes]:
    """Of the host's processes; those of containers are the containers' own."""
    ours = Path("/proc/self/ns/pid").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns" / "pid").readlink() == ours:
                yield (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue


def _inspected(socket: Path) -> bytes:
    podman = ["podman", "--url", f"unix://{socket}"]
    listed = subprocess.run([*podman, "ps", "--all", "--quiet"], capture_output=True, check=False, text=True)
    if listed.returncode:
        raise Unavailable(f"cannot ask Podman: {listed.stderr.strip()}")
    ids = listed.stdout.split()
    return subprocess.run([*podman, "inspect", *ids], capture_output=True, check=False).stdout if ids else b""


def _namespace(name: str) -> Namespace:
    made = Namespace(api_version="v1", kind="Namespace")
    made.metadata.name = name
    return made


def _secret(namespace: str, word: str) -> Secret:
    made = Secret(api_version="v1", kind="Secret", type="Opaque", data={"token": word.encode()})
    made.metadata.name, made.metadata.namespace = NAME, namespace
    return made


def _pod(namespace: str, name: str, node: str, image: str) -> Pod:
    spec = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": image, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait $!", "$(TOKEN)"],
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": NAME, "key": "token"}}}],
            "envFrom": [{"prefix": "ALL_", "secretRef": {"name": NAME}}],
            "volumeMounts": [{"name": "files", "mountPath": "/canary", "readOnly": True}],
            "readinessProbe": {"exec": {"command": ["sh", "-c", "test -s /canary/token"]}, "periodSeconds": 1},
        }],
        "volumes": [{"name": "files", "secret": {"secretName": NAME}}],
    }  # fmt: skip
    metadata = {"name": name, "namespace": namespace}
    pod = manifest.from_dict({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "the audit's pod")
    if not isinstance(pod, Pod):
        raise TypeError("a pod's manifest is a pod")
    return pod
