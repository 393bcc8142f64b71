"""Sandboxes of this host: which pods have one, which address each has, and where a restarted agent finds that.

Rules: a record run/sandboxes/<uid>.json is written after everything it speaks of is made and removed before, so that
a record means a whole sandbox; everything without one is swept when the agent starts. A cgroup goes when the monitors
in it have ended; until then <uid>.gone names it. Used on the event loop only; what blocks goes through `Rest.run`.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

import structlog

from nodeagent.kept import made
from nodeagent.runtime import addresses, cgroups, names, netns, network, podinit, syscalls
from nodeagent.runtime.places import Places
from nodeagent.runtime.port import Limits, RuntimeFailure, SandboxSpec
from nodeagent.runtime.rest import Rest
from nodeagent.runtime.seen import SeenSandbox
from nodeagent.runtime.translate import Joined
from nodeagent.wholefile import write_whole

CONMON_EXIT = 2.0  # seconds for which the end of a monitor is waited for whose container was removed
AGAIN = (5.0, 300.0)  # seconds until a cgroup that still has one is tried again, doubling

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Record:
    """What is written of a sandbox; paths are empty where the pod uses the host's."""

    seen: SeenSandbox
    ipc: str = ""
    uts: str = ""
    cgroup: str = ""  # of the pod, to be removed with it
    pid: str = ""  # where the pod's containers share their processes
    init: int = 0  # the first of them

    @classmethod
    def of(cls, text: str) -> "Record":
        """What was written, by another release too."""
        table = json.loads(text)
        return made(cls, {**table, "seen": made(SeenSandbox, table["seen"])})

    def look(self) -> SeenSandbox:
        """What is there of it now."""
        lost = bool(self.init) and not podinit.lives(self.init, self.seen.pod_uid)
        return replace(self.seen, lost=True) if lost else self.seen


class Sandboxes:
    """All of them."""

    def __init__(self, rest: Rest, places: Places, bridge: str) -> None:
        self._rest = rest
        self._places = places
        self._bridge = bridge
        self._pod_cidr = ""
        self._records: dict[str, Record] = {}
        self._reserved: set[str] = set()  # addresses of sandboxes being made
        self._released: dict[str, float] = {}
        self._leftover: dict[str, str] = {}  # pods' cgroups that are still to be removed, by uid
        self._again: asyncio.TimerHandle | None = None
        self._tidying: asyncio.Future[None] | None = None
        self._load()

    def get(self, uid: str) -> SeenSandbox | None:
        """One pod's sandbox."""
        record = self._records.get(uid)
        return record.look() if record else None

    def all(self) -> dict[str, SeenSandbox]:
        """Every sandbox by pod uid."""
        return {uid: record.look() for uid, record in self._records.items()}

    def joined(self, uid: str) -> Joined | None:
        """What containers of a pod join; None without a sandbox."""
        record = self._records.get(uid)
        if record is None:
            return None
        shm = str(self._files(uid).memory) if record.ipc else "/dev/shm"  # noqa: S108 - hostIPC asks for the host's
        return Joined(record.seen.netns, record.ipc, record.uts, record.pid, shm)

    async def configure(self, pod_cidr: str, cluster_cidr: str) -> None:
        """See the port."""
        try:
            missing = await self._rest.run(network.configure, self._bridge, pod_cidr, cluster_cidr)
        except (OSError, ValueError) as error:
            why = f"cannot make the bridge {self._bridge} for {pod_cidr}: {error}"
            raise RuntimeFailure("NetworkNotReady", why) from error
        if missing:
            log.warning("outgoing_traffic", message=missing)
        self._pod_cidr = pod_cidr

    async def make(self, spec: SandboxSpec) -> SeenSandbox:
        """See the port's `make_sandbox`."""
        if spec.pod_uid in self._records:
            return self._records[spec.pod_uid].seen
        link = None if spec.host_network else self._link(spec.pod_uid)
        address = link.address.split("/")[0] if link else ""
        self._reserved.add(address)
        self._leftover.pop(spec.pod_uid, None)
        try:
            record = await self._rest.run(self._make, spec, link, address)
        except OSError as error:
            why = f"cannot make the namespaces of pod {spec.namespace}/{spec.name}: {error}"
            raise RuntimeFailure("FailedCreatePodSandBox", why) from error
        finally:
            self._reserved.discard(address)
        self._records[spec.pod_uid] = record
        return record.seen

    async def remove(self, uid: str) -> None:
        """See the port's `remove_sandbox`."""
        record = self._records.pop(uid, None)
        if record and record.seen.ip:
            self._released[record.seen.ip] = time.monotonic()
        cgroup = record.cgroup if record else names.pod_cgroup(uid)
        await self._rest.run(self._remove, uid, cgroup)
        self._leftover[uid] = cgroup
        await self._tidy(AGAIN[0])

    def close(self) -> None:
        """Nothing more is done by itself."""
        for waiting in (self._again, self._tidying):
            if waiting is not None:
                waiting.cancel()

    async def _tidy(self, pause: float) -> None:
        """Removes the cgroups of pods that are gone; what can't be yet is tried again."""
        for uid in await self._rest.run(self._remove_cgroups, dict(self._leftover)):
            self._leftover.pop(uid, None)
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._leftover:
            self._again = asyncio.get_running_loop().call_later(pause, self._tidy_later, min(pause * 2, AGAIN[1]))

    def _tidy_later(self, pause: float) -> None:
        self._tidying = asyncio.ensure_future(self._tidy(pause))

    async def set_cgroup(self, uid: str, cgroup: str) -> None:
        """Notes which cgroup is the pod's."""
        record = self._records.get(uid)
        if record and record.cgroup != cgroup:
            self._records[uid] = replace(record, cgroup=cgroup)
            await self._rest.run(self._write, self._records[uid])

    def _link(self, uid: str) -> netns.Link:
        if not self._pod_cidr:
            raise RuntimeFailure("FailedCreatePodSandBox", "this host has no range of pod addresses yet")
        taken = {record.seen.ip for record in self._records.values()} | self._reserved
        address = addresses.choose(self._pod_cidr, taken, self._released, time.monotonic())
        if address is None:
            why = f"cannot give the pod an address: the range {self._pod_cidr} is full"
            raise RuntimeFailure("FailedCreatePodSandBox", why)
        length = IPv4Network(self._pod_cidr).prefixlen
        gateway = addresses.gateway(self._pod_cidr)
        return netns.Link(names.host_link(uid), self._bridge, f"{address}/{length}", gateway)

    # ---- blocking

    def _make(self, spec: SandboxSpec, link: netns.Link | None, address: str) -> Record:
        kinds = [
            kind
            for kind, host in (("net", spec.host_network), ("uts", spec.host_network), ("ipc", spec.host_ipc))
            if not host
        ]
        files = self._files(spec.pod_uid)
        cgroup = spec.cgroup or names.pod_cgroup(spec.pod_uid)
        netns.make(files, kinds, spec.hostname, link, spec.sysctls)
        init = self._share(files, cgroup) if spec.share_processes else 0
        if spec.limits is not None:
            self._limit(files, cgroup, spec.limits)
        paths = {kind: str(files.of(kind)) if kind in kinds else "" for kind in netns.KINDS}
        seen = SeenSandbox(
            pod_uid=spec.pod_uid, namespace=spec.namespace, name=spec.name, ip=address, created_at=time.time_ns(),
            host_network=spec.host_network, netns=paths["net"],
        )  # fmt: skip
        pid = str(files.of(netns.PID)) if init else ""
        record = Record(seen, paths["ipc"], paths["uts"], cgroup, pid, init)
        self._write(record)
        self._marker(spec.pod_uid).unlink(missing_ok=True)
        return record

    @staticmethod
    def _share(files: netns.Files, cgroup: str) -> int:
        try:
            return netns.share_processes(files, cgroup)
        except OSError:
            netns.remove(files)
            raise

    @staticmethod
    def _limit(files: netns.Files, cgroup: str, limits: Limits) -> None:
        try:
            cgroups.make(cgroup)
            cgroups.limit(cgroup, limits)
        except (OSError, ValueError) as error:
            netns.remove(files)
            cgroups.remove(cgroup)
            raise OSError(f"its control group {cgroup} can't be limited: {error}") from error

    def _remove(self, uid: str, cgroup: str) -> None:
        self._marker(uid).write_text(cgroup)
        self._path(uid).unlink(missing_ok=True)
        netns.remove(self._files(uid))
        cgroups.wait_empty(f"{cgroup}/conmon", CONMON_EXIT)

    def _remove_cgroups(self, leftover: Mapping[str, str]) -> list[str]:
        """The pods whose cgroup is no more."""
        gone = [uid for uid, cgroup in leftover.items() if cgroups.remove(cgroup)]
        for uid in gone:
            self._marker(uid).unlink(missing_ok=True)
        return gone

    def _write(self, record: Record) -> None:
        write_whole(self._path(record.seen.pod_uid), json.dumps(asdict(record)).encode())

    def _load(self) -> None:
        for path in self._places.sandboxes.glob("*.json"):
            record = Record.of(path.read_text())
            if all(syscalls.is_namespace(p) for p in (record.seen.netns, record.ipc, record.uts, record.pid) if p):
                self._records[record.seen.pod_uid] = record
        self._leftover = {file.stem: file.read_text() for file in self._places.sandboxes.glob("*.gone")}
        for uid in self._remove_cgroups(self._leftover):
            del self._leftover[uid]
        found = {file.name.rpartition(".")[0] for file in self._places.netns.iterdir()}
        found |= {file.name for file in self._places.shm.iterdir()}
        for uid in found - set(self._records):
            log.info("sandbox_leftover_removed", pod_uid=uid)
            self._path(uid).unlink(missing_ok=True)
            netns.remove(self._files(uid))

    def _files(self, uid: str) -> netns.Files:
        return netns.Files(self._places.netns, self._places.shm, uid)

    def _marker(self, uid: str) -> Path:
        return self._places.sandboxes / f"{uid}.gone"

    def _path(self, uid: str) -> Path:
        return self._places.sandboxes / f"{uid}.json"
