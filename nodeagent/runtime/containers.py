"""What containers there are: a picture kept true by our own acts, by exits, and by lists of Podman's when in doubt.

Rules: a container never goes back (created, running, ended), so of two sights the later one holds; Podman's list is
asked anew after its service came back, after an answer that got lost, and whenever `look` is asked to. On the event
loop only; what blocks goes through `Rest`.
"""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from nodeagent.runtime import cgroups, layers, names, oci, syscalls, translate
from nodeagent.runtime.events import Exit, Listeners, Watch
from nodeagent.runtime.places import Places
from nodeagent.runtime.port import ContainerSpec, Limits, RuntimeFailure
from nodeagent.runtime.rest import Away, Refused, Rest
from nodeagent.runtime.seen import SeenContainer, State
from nodeagent.runtime.translate import Joined

KILL_TIME = 5.0  # seconds that a killed container may take to end
TTY_GROUP = 5  # the owner of terminals, everywhere
SETTLE = 0.3  # seconds that conmon may take to write the exit of a process that is gone

log = structlog.get_logger()


class Containers:
    """All containers of ours on this host; `poke` is called with the pod's uid when one changed by itself, `images`
    when Podman's images did."""

    def __init__(
        self, rest: Rest, places: Places, chosen: oci.Chosen, poke: Callable[[str], None], images: Callable[[], None]
    ) -> None:
        self._rest = rest
        self._places = places
        self._chosen = chosen
        self._poke = poke
        self._seen: dict[str, SeenContainer] = {}
        self._pods: dict[str, tuple[str, str]] = {}  # (namespace, name) by uid
        self._cgroups: dict[str, str] = {}
        self._acts = 0  # counts; a list that began before an act knows less than the act
        self._acted: dict[str, int] = {}
        self._starting: set[str] = set()
        self._ends: dict[str, asyncio.Event] = {}  # of containers whose end somebody awaits
        self._whole: set[str] = set()  # created by us, with Podman's service there ever since
        self._closed = False
        self._listed = False
        self._listing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        tty_group = syscalls.last_group() >= TTY_GROUP
        self._grants = translate.Grants(lowest_oom_score(), cgroups.version() == 2, tty_group)
        listeners = Listeners(self._exited, self._died, self._back, images)
        self._watch = Watch(places.exits, places.socket, places.images, listeners)

    def close(self) -> None:
        """Watches nothing any more."""
        self._closed = True
        self._watch.close()
        for task in self._tasks:
            task.cancel()

    # ---- looking

    def all(self) -> list[SeenContainer]:
        """The picture; true after `look`."""
        return list(self._seen.values())

    def pod_of(self, uid: str) -> tuple[str, str]:
        """(namespace, name) of a pod that has containers."""
        return self._pods.get(uid, ("", ""))

    def get(self, container_id: str) -> SeenContainer | None:
        """One container of the picture."""
        return self._seen.get(container_id)

    def doubt(self) -> None:
        """The next `look` asks Podman; what was created but not started may be half made."""
        self._listed = False
        self._whole.clear()

    async def look(self, *, anew: bool) -> None:
        """Makes the picture true: asks Podman when in doubt, or when `anew`. Raises Away."""
        if self._listed and not anew:
            return
        if self._listing is None:
            self._listing = asyncio.ensure_future(self._list())
            self._listing.add_done_callback(lambda _: setattr(self, "_listing", None))
        await asyncio.shield(self._listing)

    async def _list(self) -> None:
        began = self._acts
        self._listed = True  # an act or event from now on takes it back
        filters = json.dumps({"label": [f"{names.MANAGED}=1"]})
        try:
            rows = await self._rest.ask("get", "/containers/json", all="true", filters=filters) or []
            fresh = [row["Id"] for row in rows if self._is_news(row)]
            looks = await asyncio.gather(*(self._inspect(container_id) for container_id in fresh))
        except BaseException:
            self._listed = False
            raise
        there = {row["Id"] for row in rows}
        for container_id in [i for i in self._seen if i not in there]:
            if self._acted.get(container_id, 0) <= began:
                self._drop(container_id)
        for seen in looks:
            if seen and self._acted.get(seen.id, 0) <= began:
                self._put(seen)
        self._acted = {i: n for i, n in self._acted.items() if n > began}
        uids = {seen.pod_uid for seen in self._seen.values()}
        self._pods = {uid: pod for uid, pod in self._pods.items() if uid in uids}

    def _is_news(self, row: dict[str, Any]) -> bool:
        known = self._seen.get(row["Id"])
        if known is None:
            return True
        state = translate.STATES.get(row["State"], State.LOST)
        return translate.ORDER.index(state) > translate.ORDER.index(known.state)

    async def _inspect(self, container_id: str) -> SeenContainer | None:
        try:
            found = await self._rest.ask("get", f"/containers/{container_id}/json")
        except Refused as refused:
            if _is_gone(refused):
                return None
            raise
        seen = translate.seen(found)
        if seen is None:
            return None
        self._pods[seen.pod_uid] = translate.pod_of(found)
        self._cgroups[container_id] = names.container_cgroup(found["HostConfig"]["CgroupParent"], container_id)
        if seen.state is State.EXITED:
            seen = replace(seen, oom_killed=seen.exit_code == 137 and self._oom(container_id))
        return seen

    def _put(self, seen: SeenContainer) -> None:
        known = self._seen.get(seen.id)
        self._seen[seen.id] = now = translate.later(known, seen) if known else seen
        if now.state is State.RUNNING:
            self._watch.follow(now.id, now.pid)
        else:
            self._watch.forget(now.id)
            self._tell_end(now.id)

    def _tell_end(self, container_id: str) -> None:
        if end := self._ends.pop(container_id, None):
            end.set()

    def _drop(self, container_id: str) -> None:
        self._seen.pop(container_id, None)
        self._whole.discard(container_id)
        self._cgroups.pop(container_id, None)
        self._watch.forget(container_id)
        self._tell_end(container_id)

    def _act(self, container_id: str) -> None:
        self._acts += 1
        self._acted[container_id] = self._acts

    # ---- what happens by itself

    def _exited(self, exit_: Exit) -> None:
        seen = self._seen.get(exit_.container_id)
        if seen is None or (seen.state is State.CREATED and exit_.container_id not in self._starting):
            self.doubt()
            self._poke("")
        elif exit_.code is None:
            self._spawn(exit_.container_id)
        else:
            self._act(exit_.container_id)
            oom = exit_.code == 137 and self._oom(exit_.container_id)
            ended = replace(seen, state=State.EXITED, exit_code=exit_.code, finished_at=exit_.at, pid=0, oom_killed=oom)
            self._put(ended)
            self._poke(seen.pod_uid)

    def _died(self, container_id: str) -> None:
        asyncio.get_running_loop().call_later(SETTLE, self._spawn, container_id)

    def _back(self) -> None:
        self.doubt()
        self._poke("")

    async def _confirm(self, container_id: str) -> None:
        """The process is gone: takes Podman's word for how; when conmon is gone too, nobody will ever know."""
        known = self._seen.get(container_id)
        if known is None or known.state is not State.RUNNING:
            return
        conmon = await self._rest.run(self._conmon_lives, container_id)
        seen = await self._inspect(container_id)
        if seen is None:
            self._drop(container_id)
        elif seen.state is State.RUNNING and conmon:
            self._died(container_id)
            return
        elif seen.state is State.RUNNING:
            log.warning("container_lost", container=known.name, pod_uid=known.pod_uid)
            self._put(replace(seen, state=State.LOST, pid=0, finished_at=time.time_ns()))
        else:
            self._put(seen)
        self._act(container_id)
        self._poke(known.pod_uid)

    def _conmon_lives(self, container_id: str) -> bool:
        file = self._places.runroot / "overlay-containers" / container_id / "userdata" / "conmon.pid"
        try:
            pid = int(file.read_text())
            return Path(f"/proc/{pid}/comm").read_text().strip() == "conmon"
        except (OSError, ValueError):
            return False

    def _oom(self, container_id: str) -> bool:
        """Podman's own flag is always false; the cgroup knows while it is there, then the wrapper's note does."""
        cgroup = self._cgroups.get(container_id)
        return bool(cgroup and cgroups.oom_kills(cgroup)) or (self._places.oom / container_id).exists()

    def _spawn(self, container_id: str) -> None:
        async def guarded() -> None:
            try:
                await self._confirm(container_id)
            except (Away, Refused):  # the next look asks Podman
                self.doubt()
                self._poke("")

        if self._closed:
            return
        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- acting

    async def create(self, spec: ContainerSpec, joined: Joined, cgroup: str) -> str:
        """See the port."""
        for old in self.all():
            if (old.pod_uid, old.name, old.attempt) == (spec.pod_uid, spec.name, spec.attempt):
                if old.state is State.RUNNING:
                    return old.id
                await self.remove(old.id)
        path = names.log_path(self._places.log, spec)
        body = translate.create_body(spec, joined, path, cgroup, self._grants)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            container_id = str((await self._rest.ask("post", "/containers/create", body))["Id"])
        except Refused as refused:
            if "already in use" in refused.text:  # made by a call whose answer was lost
                await self._force_remove(body["name"])
                self.doubt()
            raise _failure("CreateContainerError", f"cannot create container {spec.name}", refused) from refused
        if spec.stdin and not spec.stdin_once:
            (self._places.stdin / container_id).touch(mode=0o600)
        if spec.secret_revisions or spec.security.groups_alone:
            groups = spec.security.groups if spec.security.groups_alone else None
            await asyncio.to_thread(oci.veil, self._places, container_id, spec.secrets, groups)
        self._act(container_id)
        self._whole.add(container_id)
        self._pods[spec.pod_uid] = (spec.namespace, spec.pod_name)
        self._cgroups[container_id] = names.container_cgroup(cgroup, container_id)
        self._put(SeenContainer(
            id=container_id, pod_uid=spec.pod_uid, name=spec.name, attempt=spec.attempt, role=spec.role,
            state=State.CREATED, spec_hash=spec.spec_hash, image=spec.image, image_id=spec.image_id,
            created_at=time.time_ns(), log_path=str(path), secrets=spec.secret_revisions,
            groups_alone=spec.security.groups_alone,
        ))  # fmt: skip
        return container_id

    async def start(self, container_id: str) -> None:
        """See the port."""
        known = self._seen.get(container_id)
        if known is None:
            message = f"cannot start container {container_id[:12]}: there is no such container"
            raise RuntimeFailure("RunContainerError", message)
        if known.state is not State.CREATED:
            return
        if (known.secrets or known.groups_alone) and not (self._places.veiled / container_id).exists():
            await self.remove(container_id)
            message = f"container {known.name} has lost what its secrets or groups are and is made anew"
            raise RuntimeFailure("RunContainerError", message, transient=True)
        self._starting.add(container_id)
        self._act(container_id)
        try:
            await self._rest.ask("post", f"/containers/{container_id}/start")
            seen = await self._inspect(container_id)
        except Refused as refused:
            raise await self._not_started(known, refused) from refused
        finally:
            self._starting.discard(container_id)
        self._act(container_id)
        (self._places.veiled / container_id).unlink(missing_ok=True)
        if seen:
            self._put(seen)

    async def _not_started(self, known: SeenContainer, refused: Refused) -> RuntimeFailure:
        """What was created before a crash of the service, or of ours, may be half made: it is removed and made anew."""
        if known.id not in self._whole:
            await self.remove(known.id)
            message = f"container {known.name} was half made and is made anew"
            return RuntimeFailure("RunContainerError", message, transient=True)
        return _failure("RunContainerError", f"cannot start container {known.name}", refused)

    def kill(self, container_id: str, name: str) -> None:
        """See the port; straight to the process, Podman is not asked."""
        descriptor = self._watch.descriptor(container_id)
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, translate.signal_number(name))

    async def resize(self, container_id: str, limits: Limits) -> None:
        """See the port; straight to the cgroup, for a container is never started twice."""
        known, cgroup = self._seen.get(container_id), self._cgroups.get(container_id)
        if known is None or known.state is not State.RUNNING or not cgroup:
            return
        try:
            await self._rest.run(cgroups.limit, cgroup, limits)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise RuntimeFailure("ResizeError", f"cannot resize container {known.name}: {why}") from error

    async def remove(self, container_id: str) -> None:
        """See the port. What runs is killed by us first: Podman stumbles over a process that ends under its hands."""
        self.kill(container_id, "KILL")
        await self._ended(container_id)
        await asyncio.to_thread(layers.make_room, self._places.graph, container_id)
        await self._force_remove(container_id)
        if (self._places.oci_state / container_id).exists():  # its monitor was killed: nobody told the OCI runtime
            await self._rest.run(oci.delete, self._chosen, container_id)
        self._act(container_id)
        self._drop(container_id)
        for notes in (self._places.oom, self._places.stdin):
            (notes / container_id).unlink(missing_ok=True)
        await asyncio.to_thread(oci.forget_secrets, self._places, container_id)

    async def _ended(self, container_id: str) -> None:
        """Returns when the container is seen to have ended, or after KILL_TIME."""
        known = self._seen.get(container_id)
        if known is None or known.state is not State.RUNNING:
            return
        end = self._ends.setdefault(container_id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_TIME):
                await end.wait()

    async def _force_remove(self, which: str) -> None:
        query = {"force": "true", "timeout": "0", "ignore": "true", "v": "true"}
        try:
            await self._rest.ask("delete", f"/containers/{which}", **query)
        except Refused as refused:
            if _is_gone(refused):
                return
            busy = "busy" in refused.text or "improper" in refused.text  # it was just ending: it is done by next time
            raise _failure("RemoveContainerError", "cannot remove container", refused, transient=busy) from refused


def _is_gone(refused: Refused) -> bool:
    return refused.status == 404 or "no such container" in refused.text  # 500 while somebody is removing it


def _failure(reason: str, what: str, refused: Refused, *, transient: bool = False) -> RuntimeFailure:
    return RuntimeFailure(reason, f"{what}: {translate.words(refused.text)}", transient=transient)


def lowest_oom_score() -> int:
    """The least oom_score_adj that this host grants: without CAP_SYS_RESOURCE nothing below 0."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return -1000 if int(line.split()[1], 16) >> 24 & 1 else 0
    return 0
