"""Performs one Action of one pod, through the runtime and the pod's directory.

Rule: it decides nothing. What an action brought or how it failed goes into the pod's State, for the next plan; only a
bug is raised. What the outcome of an action makes certain is written into `seen` without a second look.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import structlog

from mesh.model import podtokens
from mesh.model.pods import container_named
from mesh.model.references import environment_secrets
from mesh.v1.core_pb2 import Container, Pod, Volume
from nodeagent.events import Events
from nodeagent.images import Images
from nodeagent.names import Names, variables
from nodeagent.pods import actions as do
from nodeagent.pods import etc
from nodeagent.pods.environment import environment, files_of
from nodeagent.pods.failures import Failures
from nodeagent.pods.hooks import Hooks
from nodeagent.pods.imagevolumes import PREFIX, user_of_image
from nodeagent.pods.podstate import PodState
from nodeagent.pods.pulling import Pulling
from nodeagent.pods.reactions import Reactions
from nodeagent.pods.record import to_json
from nodeagent.pods.resize import resources_in_words
from nodeagent.pods.spec import Ground, Host, around, container_spec, limits, sandbox_spec, sub_paths
from nodeagent.pods.status import final_status
from nodeagent.runtime.port import Runtime, RuntimeFailure
from nodeagent.runtime.seen import SeenContainer, SeenPod, State
from nodeagent.secrets import Held, Secrets, Veil
from nodeagent.volumes.files import Content, contents_of, has_content, secrets_in
from nodeagent.volumes.local import Unmountable
from nodeagent.volumes.tree import Tree, verify_propagation
from nodeagent.volumes.vault import Vault

log = structlog.get_logger()

ALLOW = 'allow it by `env_in_swap = "anyway"` in agent.toml, or mount the Secret as files'
EXECUTE_FAILURES = (RuntimeFailure, Unmountable, OSError)


@dataclass(slots=True)
class Executor:
    """The hands of all workers. `poke` wakes a worker; `kept` returns once the newest Assignment is on disk."""

    runtime: Runtime
    images: Images
    tree: Tree
    events: Events
    host: Host
    clock: Callable[[], int]
    poke: Callable[[str], None]
    kept: Callable[[], Awaitable[None]]
    hooks: Hooks
    failures: Failures
    pulling: Pulling
    vault: Vault
    reactions: Reactions
    env_exposure: Callable[[], str]  # why a Secret in an environment could reach a disk of this host, in words
    names: Callable[[Pod], Names] = lambda _pod: Names()
    traceparent: Callable[[str], str] = lambda _uid: ""  # of a pod whose start is traced
    held: Callable[[str], str] = lambda _uid: ""  # why a pod that is deleted must not be stopped yet

    async def perform(self, action: do.Action, state: PodState, facts: do.Facts) -> None:
        """Does it; failures are noted in `state`."""
        with state.steps.step(action, self.traceparent(state.uid), self.clock):
            try:
                await self._perform(action, state, facts)
            except EXECUTE_FAILURES as raised:
                failure = raised if isinstance(raised, RuntimeFailure) else RuntimeFailure("", str(raised))
                self.failures.note(action, state, failure)
                state.steps.failed(failure.message)

    async def _perform(self, action: do.Action, state: PodState, facts: do.Facts) -> None:  # noqa: PLR0912 - one line each
        match action:
            case do.PrepareVolumes():
                await self._prepare_volumes(state)
            case do.ProjectVolumes():
                await self._project_volumes(state)
            case do.MakeSandbox():
                await self._make_sandbox(action, state)
            case do.ResolveImage():
                await self.pulling.resolve(action, _container(state.pod, action.container), state)
            case do.CreateContainer():
                await self._create(action, state)
            case do.StartContainer():
                await self._start(action, state)
            case do.Resize():
                await self._resize(action, state)
            case do.Greet():
                self.hooks.greet(action, state)
            case do.Terminate():
                await self._terminate(action, state)
            case do.Leave():
                self.hooks.leave(action, state)
            case do.Term():
                await self._term(action, state)
            case do.Kill():
                await self.runtime.kill(action.container_id, "KILL")
                state.memory = state.memory.with_kill(action.container_id, self.clock())
                state.stale = True
            case do.RemoveContainer():
                await self._remove_container(action, state)
            case do.RemoveSandbox():
                await self.runtime.remove_sandbox(state.uid)
                if state.seen:
                    state.seen = replace(state.seen, sandbox=None)
            case do.RemoveVolumes():
                await asyncio.to_thread(self.tree.remove_volumes, state.uid)
                state.memory = replace(state.memory, volumes=do.Volumes.REMOVED)
            case do.Fail():
                state.record = replace(state.record, reason=action.reason, message=action.message)
                self.events.warning(state.pod, action.reason, action.message)
            case do.Drain() | do.EndDrain():
                await self._drain(action, state)
            case do.Settle():
                state.record = replace(state.record, final=final_status(facts).SerializeToString())
                await self.save(state)
            case do.Forget():
                await self.kept()  # or a restarted agent would start it all over
                await asyncio.to_thread(self.tree.remove, state.uid)
                self.images.drop(state.uid)
                state.gone = True

    async def _drain(self, action: do.Drain | do.EndDrain, state: PodState) -> None:
        drain = state.record.drain
        if isinstance(action, do.Drain):
            drain = replace(drain, since=drain.since or self.clock(), waits_for=action.waits_for)
            self.events.normal(state.pod, "Draining", action.message)
        elif action.late:
            drain = replace(drain, over=True)
            self.events.warning(state.pod, "DrainTimedOut", action.message)
        else:
            drain = replace(drain, over=True)
            self.events.normal(state.pod, "Drained", action.message)
        state.record = replace(state.record, drain=drain)
        await self.save(state)

    async def save(self, state: PodState) -> None:
        """Puts the record on disk if it changed; a disk that takes nothing is told, and tried again another time."""
        if state.record == state.saved:
            return
        record = state.record
        try:
            await asyncio.to_thread(self.tree.write_record, state.uid, to_json(record))
            state.saved = record
        except OSError as error:
            log.error("record_not_written", pod=state.uid, why=str(error))

    # ---- ground

    def revisions(self, state: PodState) -> dict[str, str]:
        """What the pod's volumes should show, by name, "" where that can't be told now."""
        return {name: content.revision for name, content in self._contents(state).items()}

    def _contents(self, state: PodState) -> dict[str, Content]:
        """The content of the pod's volumes, to be written at once: Secrets are open in it."""
        pod, given = state.pod, state.given
        wanted = {name for volume in pod.spec.volumes for name in secrets_in(volume)} | podtokens.names_of(pod)
        return contents_of(pod, given.configs, around(self.host, ""), self._opened(state, wanted))

    def _opened(self, state: PodState, names: Collection[str]) -> Secrets:
        refs = {name: ref for name, ref in state.given.secrets.items() if name in names}
        return self.vault.open(state.pod.metadata.namespace, refs)

    async def _prepare_volumes(self, state: PodState) -> None:
        contents = self._contents(state)
        await self._mount_images(state)
        await asyncio.to_thread(self.tree.prepare, state.pod, self.host.memory, contents, state.given.claims)
        shown = {name: content.revision for name, content in contents.items()}
        ready = replace(state.memory, volumes=do.Volumes.READY, projected=shown)
        state.memory = ready.with_failure(do.VOLUMES, None)

    async def _mount_images(self, state: PodState) -> None:
        """Image volumes, once their images are here (I7); an image that can't be mounted is looked for again."""
        for volume in state.pod.spec.volumes:
            subject = PREFIX + volume.name
            fact = state.memory.images.get(subject) if volume.HasField("image") else None
            if fact is None or fact.image is None:
                continue
            try:
                await self.runtime.mount_image(fact.image, Path(self.tree.volume_path(state.pod, volume)))
            except RuntimeFailure as failure:
                if not failure.transient:
                    self.images.forget(fact.reference)
                    state.memory = state.memory.without_image(subject)
                raise RuntimeFailure(
                    failure.reason, f'volume "{volume.name}": {failure.message}', transient=failure.transient
                ) from failure

    async def _project_volumes(self, state: PodState) -> None:
        fresh: set[str] = set()
        shown = await asyncio.to_thread(self.tree.project, state.pod, self._contents(state), fresh)
        updated = replace(state.memory, projected={**state.memory.projected, **shown})
        state.memory = updated.with_failure(do.VOLUMES, None)
        self.reactions.changed(state, fresh)

    async def _make_sandbox(self, action: do.MakeSandbox, state: PodState) -> None:
        if action.changed and do.SANDBOX not in state.memory.failures:
            self.events.normal(state.pod, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        sandbox = await self.runtime.make_sandbox(sandbox_spec(state.pod, self.host.node_name, self.names(state.pod)))
        seen = state.seen or SeenPod(state.uid, state.pod.metadata.namespace, state.pod.metadata.name)
        state.seen = replace(seen, sandbox=sandbox)
        state.memory = state.memory.with_failure(do.SANDBOX, None)

    async def _write_etc(self, state: PodState) -> dict[str, str]:
        """The pod's own /etc files, written once for its address."""
        sandbox = state.seen.sandbox if state.seen else None
        ip = sandbox.ip if sandbox else ""
        if state.etc_for != ip:
            state.etc = await asyncio.to_thread(self._write_etc_files, state.pod, ip)
            state.etc_for = ip
        return state.etc

    def _write_etc_files(self, pod: Pod, ip: str) -> dict[str, str]:
        names = self.names(pod)
        hostname = etc.hostname_of(pod, self.host.node_name, names)
        on_host = pod.spec.host_network
        texts = {
            "hosts": etc.host_hosts(pod, _read("/etc/hosts")) if on_host else etc.hosts(pod, ip, hostname, names),
            "resolv.conf": etc.resolv_conf(pod, _read("/etc/resolv.conf"), names),
            "hostname": hostname + "\n",
        }
        return {f"/etc/{name}": self.tree.write_etc(pod.metadata.uid, name, text) for name, text in texts.items()}

    # ---- containers

    async def _create(self, action: do.CreateContainer, state: PodState) -> None:
        container = _container(state.pod, action.container)
        fact = state.memory.images[action.container]
        if action.attempt > 1:
            await asyncio.to_thread(self.tree.remove_old_logs, state.uid, action.container, action.attempt)
        if action.streak is not None:
            state.record = state.record.with_streak(action.container, action.streak)
        if fact.image is None:
            raise RuntimeFailure("CreateContainerError", "the image is not there")
        spec = container_spec(
            state.pod, container, attempt=action.attempt, role=action.role, image=fact.image, host=self.host,
            ground=await self._ground(state, container, action.attempt), spec_hash=state.hashes[action.container],
        )  # fmt: skip
        container_id = await self.runtime.create(spec)
        created = SeenContainer(
            id=container_id, pod_uid=state.uid, name=spec.name, attempt=spec.attempt, role=spec.role,
            state=State.CREATED, spec_hash=spec.spec_hash, image=spec.image, image_id=spec.image_id,
            secrets=spec.secret_revisions,
        )  # fmt: skip
        state.seen = _with(state.seen, created)
        state.memory = state.memory.with_failure(action.container, None)
        state.record = state.record.followed(action.container)
        self.events.normal(state.pod, "Created", f"Created container {spec.name}", spec.name)

    async def _ground(self, state: PodState, container: Container, attempt: int) -> Ground:
        pod, sandbox = state.pod, state.seen.sandbox if state.seen else None
        ip = self.host.ip if pod.spec.host_network else sandbox.ip if sandbox else ""
        veil, names = Veil(token_hex(8)), environment_secrets(container)
        opened = self._opened(state, names)
        told = self.names(pod)
        services = variables(told.links)
        files = await asyncio.to_thread(self.tree.read_files, pod, files_of(container))
        env = environment(pod, container, around(self.host, ip), state.given.configs, opened, veil, services, files)
        if opened.data and (why := self.env_exposure()):
            words = f"a Secret is not put in the environment where it could leak: {why}; {ALLOW}"
            raise RuntimeFailure("CreateContainerConfigError", f"cannot create container {container.name}: {words}")
        held = {name: ref.revision for name, ref in state.given.secrets.items() if isinstance(ref, Held)}
        ground = Ground(
            ip, {}, await self._write_etc(state), sub_paths(container, env, veil), secrets=opened, mark=token_hex(8),
            services=services, names=told, files=files,
            revisions={name: revision for name, revision in held.items() if name in opened.data},
        )  # fmt: skip
        return await asyncio.to_thread(self._lay_ground, state, container, attempt, ground)

    def _lay_ground(self, state: PodState, container: Container, attempt: int, wanted: Ground) -> Ground:
        """What is wanted, as paths of this host."""
        pod = state.pod
        by_name = {v.name: v for v in pod.spec.volumes}
        volumes = {name: self.tree.volume_path(pod, v) for name, v in by_name.items()}
        bound: dict[int, str] = {}
        for number, path in wanted.sub_paths.items():
            volume = by_name[container.volume_mounts[number].name]
            bound[number] = self.tree.sub_path(pod, volume, path, f"{container.name}-{number}")
        for mount in container.volume_mounts:
            if by_name[mount.name].HasField("host_path"):
                verify_propagation(volumes[mount.name], mount.mount_propagation)
        words = ""
        if container.termination_message_path:
            words = self.tree.termination_file(state.uid, container.name, attempt)
        return replace(
            wanted, volumes=volumes, sub_paths=bound, configs=state.given.configs, termination=words,
            read_only=frozenset(n for n, v in by_name.items() if _read_only(v)),
        )  # fmt: skip

    async def last_words(self, pod: Pod, ended: Sequence[SeenContainer]) -> dict[str, str]:
        """Termination messages by container id (L16)."""
        return await asyncio.to_thread(self._last_words, pod, ended)

    def _last_words(self, pod: Pod, ended: Sequence[SeenContainer]) -> dict[str, str]:
        said = {}
        for seen in ended:
            container = container_named(pod.spec, seen.name)
            policy = container.termination_message_policy if container else ""
            stands_in = seen.log_path if policy == "FallbackToLogsOnError" and seen.exit_code else ""
            said[seen.id] = self.tree.last_words(pod.metadata.uid, seen.name, seen.attempt, stands_in)
        return said

    async def _start(self, action: do.StartContainer, state: PodState) -> None:
        await self.runtime.start(action.container_id)
        state.memory = state.memory.with_failure(action.container, None)
        state.stale = True
        self.events.normal(state.pod, "Started", f"Started container {action.container}", action.container)

    async def _resize(self, action: do.Resize, state: PodState) -> None:
        await self.save(state)  # what was granted is known to the next agent before a cgroup follows
        container = _container(state.pod, action.container)
        await self.runtime.resize(action.container_id, limits(state.pod, container, self.host.memory))
        state.record = state.record.followed(action.container)
        state.memory = state.memory.with_failure(do.RESIZE, None)
        words = f"Container {action.container} was resized to {resources_in_words(container.resources)}"
        self.events.normal(state.pod, "ResizeCompleted", words, action.container)

    async def _terminate(self, action: do.Terminate, state: PodState) -> None:
        if not action.again:
            self.events.normal(state.pod, "Killing", action.message, action.container)
            if not action.later:
                await self.runtime.kill(action.container_id, await self._stop_signal(action, state))
        state.record = state.record.with_stop(action.container_id, action.deadline)
        if action.later:
            state.record = state.record.with_leaving(action.container_id)
        elif action.again:
            self.hooks.shorten(action.container_id, action.deadline)
        await self.save(state)

    async def _term(self, action: do.Term, state: PodState) -> None:
        self.hooks.shorten(action.container_id, 0)
        await self.runtime.kill(action.container_id, await self._stop_signal(action, state))
        state.record = state.record.with_term(action.container_id, action.deadline)
        await self.save(state)

    async def _stop_signal(self, action: do.Terminate | do.Term, state: PodState) -> str:
        """The container's wish, else its image's, else TERM (L10)."""
        container = container_named(state.pod.spec, action.container)
        if container is not None and container.lifecycle.stop_signal:
            return container.lifecycle.stop_signal.removeprefix("SIG")
        ours = [c for c in (state.seen.containers if state.seen else ()) if c.id == action.container_id]
        try:
            image = await self.images.find(ours[0].image_id) if ours and ours[0].image_id else None
        except RuntimeFailure:
            image = None  # stopping does not wait for an image that can't be looked at
        return (image.stop_signal.removeprefix("SIG") if image else "") or "TERM"

    async def _remove_container(self, action: do.RemoveContainer, state: PodState) -> None:
        await self.runtime.remove(action.container_id)
        if state.seen is not None:
            rest = tuple(c for c in state.seen.containers if c.id != action.container_id)
            state.seen = replace(state.seen, containers=rest)


def _container(pod: Pod, name: str) -> Container:
    found = user_of_image(pod, name)
    if found is None:
        raise KeyError(name)
    return found


def _with(seen: SeenPod | None, container: SeenContainer) -> SeenPod:
    if seen is None:
        raise ValueError("a container was created for a pod without a sandbox")
    others = [c for c in seen.containers if (c.name, c.attempt) != (container.name, container.attempt)]
    ordered = sorted([*others, container], key=lambda c: (c.name, c.attempt))
    return replace(seen, containers=tuple(ordered))


def _read_only(volume: Volume) -> bool:
    return has_content(volume) or volume.HasField("image") or volume.persistent_volume_claim.read_only


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
