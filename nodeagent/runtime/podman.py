"""The Runtime port on a real Podman: sandboxes of our own, containers and images of Podman's.

Rules: needs a prepared host and Podman's service (`python -m nodeagent podman`); holds nothing that it cannot find
again, see `containers` and `sandboxes`; everything that fails is a RuntimeFailure.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from nodeagent.config import AgentConfig
from nodeagent.runtime import cgroups, imagemounts, names, oci
from nodeagent.runtime.containers import Containers
from nodeagent.runtime.images import Images
from nodeagent.runtime.places import Places
from nodeagent.runtime.port import ContainerSpec, Credentials, Image, Limits, Progress, RuntimeFailure, SandboxSpec
from nodeagent.runtime.rest import Away, Refused, Rest
from nodeagent.runtime.sandboxes import Sandboxes
from nodeagent.runtime.seen import SeenContainer, SeenPod, SeenSandbox
from nodeagent.runtime.translate import Joined

T = TypeVar("T")
REOPEN = b"2 0 0\n"  # conmon's words
RESIZE = b"1 %d %d\n"


class PodmanRuntime:
    """See `port.Runtime`; made on the event loop that it serves."""

    def __init__(self, config: AgentConfig) -> None:
        self._places = places = Places.of(config)
        self.chosen = oci.Chosen.load(places.runtime)  # which OCI runtime, and why
        self._poke: Callable[[str], None] = lambda _: None
        self._images_changed: Callable[[], None] = lambda: None
        self._rest = Rest(config.podman_socket, pulls=config.max_parallel_pulls)
        self._images = Images(self._rest)
        self._sandboxes = Sandboxes(self._rest, places, config.bridge)
        self._containers = Containers(self._rest, places, self.chosen, self._tell, self._tell_images)

    async def pods(self) -> dict[str, SeenPod]:
        await self._answer(self._containers.look(anew=True))
        uids = {*self._sandboxes.all(), *(c.pod_uid for c in self._containers.all())}
        return {uid: pod for uid in uids if (pod := self._pod(uid))}

    async def pod(self, uid: str) -> SeenPod | None:
        await self._answer(self._containers.look(anew=False))
        return self._pod(uid)

    async def make_sandbox(self, spec: SandboxSpec) -> SeenSandbox:
        return await self._sandboxes.make(spec)

    async def remove_sandbox(self, uid: str) -> None:
        await self._sandboxes.remove(uid)

    async def image(self, reference: str) -> Image | None:
        return await self._answer(self._images.find(reference))

    async def images(self) -> list[Image]:
        return await self._answer(self._images.all())

    async def pull(
        self, reference: str, credentials: Credentials | None = None, told: Callable[[Progress], None] = lambda _: None
    ) -> Image:
        return await self._answer(self._images.pull(reference, credentials, told))

    async def remove_image(self, image: Image) -> None:
        await self._answer(self._images.remove(image))

    async def mount_image(self, image: Image, target: Path) -> None:
        await self._answer(self._images.mount(image, target))

    async def mounted_images(self) -> set[str]:
        return set((await asyncio.to_thread(imagemounts.mounted)).values())

    async def load_image(self, archive: Path) -> list[Image]:
        return await self._answer(self._images.load(archive))

    async def create(self, spec: ContainerSpec) -> str:
        joined = self._joined(spec)
        cgroup = spec.cgroup_parent or names.pod_cgroup(spec.pod_uid)
        await self._sandboxes.set_cgroup(spec.pod_uid, cgroup)
        try:
            return await self._answer(self._containers.create(spec, joined, cgroup))
        except RuntimeFailure:
            self._images.forget()  # the image may be gone
            raise

    async def start(self, container_id: str) -> None:
        await self._answer(self._containers.start(container_id))

    async def kill(self, container_id: str, signal: str) -> None:
        self._containers.kill(container_id, signal)

    async def resize(self, container_id: str, limits: Limits) -> None:
        await self._containers.resize(container_id, limits)

    async def weigh(self, shares: Mapping[str, int]) -> None:
        await asyncio.to_thread(cgroups.weigh, shares)

    async def remove(self, container_id: str) -> None:
        await self._answer(self._containers.remove(container_id))
        oci.forget_exec(self._places.exec, container_id)

    async def reopen_log(self, container_id: str) -> None:
        try:
            self._tell_monitor(container_id, REOPEN)
        except OSError as error:
            why = f"cannot tell the container's monitor of its new log: {error.strerror or error}"
            raise RuntimeFailure("LogReopenError", why) from error

    def exec_command(self, container: SeenContainer, command: Sequence[str], *, tty: bool = False) -> list[str]:
        configuration = oci.configuration(self._places, container.id)
        try:
            process = oci.exec_process(configuration, self._places.exec, command, tty=tty)
        except FileNotFoundError as error:
            why = f"cannot run a command in container {container.name}: it is gone"
            raise RuntimeFailure("RunContainerError", why) from error
        return oci.exec_argv(self.chosen, configuration, process)

    def attachment(self, container: SeenContainer) -> Path:
        return self._places.bundles / container.id / "userdata" / "attach"

    def resize_terminal(self, container: SeenContainer, rows: int, columns: int) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._tell_monitor(container.id, RESIZE % (rows, columns))

    def _tell_monitor(self, container_id: str, words: bytes) -> None:
        control = self._places.bundles / container_id / "userdata" / "ctl"
        descriptor = os.open(control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, words)
        finally:
            os.close(descriptor)

    def on_change(self, poke: Callable[[str], None]) -> None:
        self._poke = poke

    def on_images(self, changed: Callable[[], None]) -> None:
        self._images_changed = changed

    async def configure(self, pod_cidr: str, cluster_cidr: str) -> None:
        await self._sandboxes.configure(pod_cidr, cluster_cidr)

    async def close(self) -> None:
        self._sandboxes.close()
        self._containers.close()
        self._rest.close()

    def _tell(self, uid: str) -> None:
        self._poke(uid)

    def _tell_images(self) -> None:
        self._images.forget()
        self._images_changed()

    def _pod(self, uid: str) -> SeenPod | None:
        sandbox = self._sandboxes.get(uid)
        mine = sorted((c for c in self._containers.all() if c.pod_uid == uid), key=lambda c: (c.name, c.attempt))
        if sandbox is None and not mine:
            return None
        namespace, name = (sandbox.namespace, sandbox.name) if sandbox else self._containers.pod_of(uid)
        return SeenPod(uid, namespace, name, sandbox, tuple(mine))

    def _joined(self, spec: ContainerSpec) -> Joined:
        joined = self._sandboxes.joined(spec.pod_uid)
        if joined is None:
            raise RuntimeFailure("CreateContainerError", f"cannot create container {spec.name}: the pod has no sandbox")
        return joined

    async def _answer(self, call: Awaitable[T]) -> T:
        """Podman's answer; what it can't answer is a RuntimeFailure."""
        try:
            return await call
        except Away as error:
            self._containers.doubt()
            why = f"Podman's service does not answer: {error}"
            raise RuntimeFailure("RuntimeUnavailable", why, transient=True) from error
        except Refused as refused:
            raise RuntimeFailure("RuntimeError", f"Podman refused: {refused.text}", transient=True) from refused
