"""The ingress of one host: follows the table, the host's side and the Secrets, and keeps an HAProxy in step.

Rules: one change at a time, the newest wins. Moved endpoints are commands, never a reload; all else is a reload of a
configuration that HAProxy itself has approved before. Certificates and passwords lie in memory alone. Nothing is
touched before the Secrets of this host are known: an HAProxy that a former netproxy started serves until then.
"""

import asyncio
import grp
import hashlib
import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from mesh.errors import MeshError
from mesh.model.ingress import CERTIFICATE, DEFAULT_CERTIFICATE, KEY, PASSWORDS
from mesh.v1.core_pb2 import Secret
from mesh.v1.node_pb2 import IngressFigures, ProxyIngress, ProxyService
from netproxy.ingress.counting import Counting
from netproxy.ingress.haproxy import Place, Rendered, command_of, rendered
from netproxy.ingress.master import Master, Workers
from netproxy.ingress.routes import Plan, Pool, Slot, plan_of
from netproxy.routes import Backend

log = structlog.get_logger()
SETTLE = 0.02  # seconds that changes gather
AGAIN = 5.0  # until what failed is tried again
RESTART = 0.2  # until an HAProxy that ended is started again
LOOK = 1.0  # between two looks at who still carries something; only while somebody leaves
USER = "haproxy"


class Ingress:
    """`news()` is called when what is told of it has changed. `directory` is in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path, ports: tuple[int, int] = (80, 443)) -> None:
        self.news: Callable[[], None] = lambda: None
        self.problem = ""  # why not everything is served, in words
        self._loop = loop
        self._directory = directory
        self._place = Place(str(directory), *ports, *_user())
        self.master = Master(directory)
        self._ingresses: Mapping[str, ProxyIngress] = {}
        self._services: Mapping[str, ProxyService] = {}
        self._addresses: tuple[str, ...] = ()
        self._secrets: dict[str, Secret] | None = None
        self._serves = False
        self._plan = Plan()  # as HAProxy has it
        self._counting = Counting(loop, self.master)
        self._skeleton = ""
        self._certificates: dict[str, str] = {}  # file -> digest of what HAProxy has of it
        self._leaving: dict[tuple[str, int], tuple[Backend, int]] = {}  # freed slots that carry something: how much
        self._wanted: frozenset[str] = frozenset()  # uids of pods that may be given something
        self._changed = asyncio.Event()
        self._rest = asyncio.Event()  # HAProxy does what is wanted
        self._task: asyncio.Task[None] | None = None
        self._watched = 0  # the descriptor of HAProxy's process, and its pid
        self._running = 0

    # ---- what is told

    def program(self, ingresses: Mapping[str, ProxyIngress], services: Mapping[str, ProxyService]) -> None:
        """The table, as far as it concerns Ingress."""
        self._ingresses, self._services = ingresses, services
        self._touch()

    def place(self, serves: bool, addresses: Iterable[str]) -> None:
        """Whether this host serves, and where."""
        told = (serves, tuple(sorted(set(addresses))))
        if told != (self._serves, self._addresses):
            self._serves, self._addresses = told
            self._touch()

    def secrets(self, secrets: Iterable[Secret]) -> None:
        """All Secrets that are for this host's ingress."""
        self._secrets = {f"{s.metadata.namespace}/{s.metadata.name}": s for s in secrets}
        self._touch()

    def draining(self) -> dict[str, int]:
        """Pods that serve no more and to which something is open here, or could still be begun, by uid."""
        found: dict[str, int] = {}
        for pool in self._plan.pools.values():
            for slot in pool.slots:
                if slot is not None and slot.backend.uid and slot.backend.uid not in self._wanted:
                    found[slot.backend.uid] = found.get(slot.backend.uid, 0) + 1
        for backend, count in self._leaving.values():
            if backend.uid and backend.uid not in self._wanted:
                found[backend.uid] = found.get(backend.uid, 0) + count
        return found

    async def figures(self) -> IngressFigures | None:
        """What has been carried; None: this host does not serve."""
        return await self._counting.figures(self._plan) if self._serves else None

    async def settled(self) -> None:
        """Returns once HAProxy does what was told last."""
        await self._rest.wait()

    def end(self) -> None:
        """HAProxy lives on; nobody follows what is told any more."""
        if self._task is not None:
            self._task.cancel()

    def _touch(self) -> None:
        self._wanted = frozenset(e.pod_uid for s in self._services.values() for e in s.endpoints if e.ready)
        if self._task is None and not self._serves:
            return
        self._changed.set()
        self._rest.clear()
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name="ingress")

    # ---- what is done

    async def _run(self) -> None:
        while True:
            wait = AGAIN if self.problem else LOOK if self._leaving else None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
                await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._changed.clear()
            before = (self.problem, self.draining())
            try:
                self.problem = await self._step()
            except (MeshError, OSError) as error:
                self.problem = str(error)
            if self.problem and self.problem != before[0]:
                log.error("ingress_not_as_wanted", why=self.problem)
            if (self.problem, self.draining()) != before:
                self.news()
            if not self._changed.is_set() and not self.problem and (self._skeleton or not self._serves):
                self._rest.set()

    async def _step(self) -> str:
        if not self._serves:
            if self.master.pid:
                self._watch()  # whoever ends is taken leave of, also one whose start seemed to fail
            self.master.stop()
            self._plan, self._skeleton, self._leaving = Plan(), "", {}
            return ""
        if self._secrets is None or not self._addresses:
            return ""
        busy: dict[str, set[int]] = {}
        for pool, index in self._leaving:
            busy.setdefault(pool, set()).add(index)
        plan = plan_of(self._ingresses, self._services, self._plan.pools, busy, self._addresses)
        texts = self._certified(plan)
        passwords = {name: s.data.get(PASSWORDS, b"").decode(errors="replace") for name, s in self._secrets.items()}
        wanted = rendered(plan, self._place, passwords, {name: file for name, (file, _) in texts.items()})
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if not self.master.pid or wanted.skeleton != self._skeleton:
            if why := await self._anew(wanted, texts):
                return why
        else:
            await self._moved(plan, wanted, texts)
        self._note_leaving(plan)
        self._plan = plan
        self._watch()
        await self._look()
        return ""

    def _watch(self) -> None:
        """An HAProxy that ends is started again, also one that has ended before anybody watched it."""
        if self._watched:
            return
        self._running = self.master.pid
        if not self._running:
            self._ended()
            return
        try:
            self._watched = os.pidfd_open(self._running)
        except ProcessLookupError:
            self._ended()
            return
        self._loop.add_reader(self._watched, self._ended)

    def _ended(self) -> None:
        if self._watched:
            self._loop.remove_reader(self._watched)
            os.close(self._watched)
            self._watched = 0
            self.master.reap(self._running)
        if self._serves:
            log.error("ingress_ended")
            self._skeleton = ""
            self._loop.call_later(RESTART, self._changed.set)

    async def _anew(self, wanted: Rendered, texts: Mapping[str, tuple[str, str]]) -> str:
        """A start or a reload; returns why not."""
        for file, text in texts.values():
            self._write(file, text)
        for name, text in wanted.files.items():
            self._write(name, text)
        if why := await self.master.check():
            self._skeleton = ""
            return f"HAProxy refuses the configuration: {why}"
        if self.master.pid:
            await self._counting.ask()  # for the last time, of a worker that may end at once
            await self.master.reload()
            self._counting.reloaded()
        else:
            await self.master.start()
        self._skeleton = wanted.skeleton
        self._certificates = {file: _digest(text) for file, text in texts.values()}
        log.info("ingress_loaded", pid=self.master.pid)
        return ""

    async def _moved(self, plan: Plan, wanted: Rendered, texts: Mapping[str, tuple[str, str]]) -> None:
        """Slots and certificates that changed, without a reload."""
        fresh = {file: text for file, text in texts.values() if self._certificates.get(file) != _digest(text)}
        commands = list(_commands(self._plan.pools, plan.pools))
        if not fresh and not commands:
            return
        workers = await self.master.workers()
        for file, text in fresh.items():
            self._write(file, text)
            await self._exchange(file, text, workers)
        if commands:
            self._write("haproxy.cfg", wanted.files["haproxy.cfg"])
            for why in await self.master.order(commands, workers):
                log.error("ingress_command_refused", why=why)
                self._skeleton = ""  # what HAProxy has is not known any more: the next step reloads

    async def _exchange(self, file: str, text: str, workers: Workers) -> None:
        path = self._place.file(file)
        said = await self.master.ask(workers.current, f"set ssl cert {path} <<\n{text}\n")
        said += await self.master.ask(workers.current, f"commit ssl cert {path}")
        if "Success" in said:
            self._certificates[file] = _digest(text)
            log.info("ingress_certificate_exchanged", file=file)
        else:
            log.warning("ingress_certificate_needs_reload", file=file)
            self._skeleton = ""
            self._changed.set()

    def _note_leaving(self, plan: Plan) -> None:
        """Slots that were freed may still carry something."""
        for name, pool in self._plan.pools.items():
            after = plan.pools[name].slots if name in plan.pools else ()
            for index, slot in enumerate(pool.slots):
                now = after[index] if index < len(after) else None
                if slot is not None and (now is None or now.backend != slot.backend):
                    self._leaving[name, index] = slot.backend, 1

    async def _look(self) -> None:
        """How much the slots that were freed still carry."""
        if not self._leaving:
            return
        workers = await self.master.workers()
        open_: dict[tuple[str, int], int] = {}
        for pid in (workers.current, *workers.old):
            for line in (await self.master.ask(pid, "show stat -1 4 -1")).splitlines():
                words = line.split(",")
                if len(words) > 4 and words[1].startswith("p") and words[1][1:].isdecimal() and words[4].isdecimal():
                    at = (words[0], int(words[1][1:]))
                    open_[at] = open_.get(at, 0) + int(words[4])
        self._leaving = {at: (backend, open_[at]) for at, (backend, _) in self._leaving.items() if open_.get(at)}

    # ---- files

    def _certified(self, plan: Plan) -> dict[str, tuple[str, str]]:
        """File and content of each certificate that is wanted and there, by "namespace/secret"; "": the mesh's own."""
        found: dict[str, tuple[str, str]] = {}
        for name in {"", *plan.certificates.values()}:
            secret = (self._secrets or {}).get(name or "/".join(DEFAULT_CERTIFICATE))
            if secret is None or not secret.data.get(CERTIFICATE) or not secret.data.get(KEY):
                continue
            text = secret.data[CERTIFICATE].decode(errors="replace").rstrip() + "\n"
            text += secret.data[KEY].decode(errors="replace").rstrip() + "\n"
            found[name] = f"certificate-{_digest(name)[:16]}.pem", text
        return found

    def _write(self, name: str, text: str) -> None:
        path = self._directory / name
        fresh = path.with_name(f".{name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        fresh.replace(path)


def _commands(before: Mapping[str, Pool], after: Mapping[str, Pool]) -> Iterable[str]:
    for name, pool in after.items():
        held = before[name].slots if name in before else ()
        for index, slot in enumerate(pool.slots):
            was: Slot | None = held[index] if index < len(held) else None
            if slot != was:
                yield from command_of(name, index, slot)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _user() -> tuple[str, str]:
    """Whom HAProxy becomes once it has its sockets."""
    if os.geteuid():
        return "", ""
    try:
        return USER, grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
    except KeyError:
        return "", ""
