"""A container runtime of the mind: the Runtime port over a FakeHost, for tests of everything above the runtime.

Rule: it passes tests/contract/test_runtime*.py as Podman does. Its time is the running loop's clock, so a bent clock
bends it. What a container does is its Program, looked up by "pod/container", then "container", then the default.

    host = FakeHost()
    host.programs["web"] = [Program(exit_after=1, exit_code=3), Program()]   # the first attempt fails, the next lives
    runtime = FakeRuntime(host)            # a second FakeRuntime(host) is the agent after a restart
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nodeagent.runtime.addresses import choose
from nodeagent.runtime.port import ContainerSpec, Credentials, Image, Limits, Progress, RuntimeFailure, SandboxSpec
from nodeagent.runtime.seen import SeenContainer, SeenPod, SeenSandbox, State

EPOCH = 1_800_000_000  # seconds; the fake's date when its loop's clock shows 0
SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15}


@dataclass(frozen=True, slots=True)
class Program:
    """What a container does once started: runs `exit_after` seconds (None: for ever), answers TERM by exiting with
    `on_term` (None: ignores it), or fails to be created or started."""

    exit_after: float | None = None
    exit_code: int = 0
    on_term: int | None = 143
    oom: bool = False  # its own exit is the kernel's OOM kill
    create_failure: RuntimeFailure | None = None
    start_failure: RuntimeFailure | None = None
    create_seconds: float = 0.0
    start_seconds: float = 0.0
    last_words: str = ""  # its termination message, at the default path
    output: Sequence[str] = ()  # lines that it writes to stdout when started (when the host has a log_dir)


@dataclass(slots=True)
class FakeHost:
    """What outlives an agent: containers, sandboxes, images; and the script."""

    programs: dict[str, Program | Sequence[Program]] = field(default_factory=dict)
    default: Program = Program()
    local_images: dict[str, Image] = field(default_factory=dict)  # by every name and id
    registry: dict[str, Image | RuntimeFailure] = field(default_factory=dict)
    pull_seconds: float = 0.0
    pull_progress: Sequence[Progress] = ()  # told one after the other over that time
    private: dict[str, Credentials] = field(default_factory=dict)  # images that only these are given
    any_image: bool = True  # an image that nobody named is there all the same
    sandbox_failure: RuntimeFailure | None = None
    sandbox_seconds: float = 0.0
    away: bool = False  # the runtime does not answer; see FakeRuntime.set_away
    memory_in_use: int = 0  # of every container
    log_dir: Path | None = None
    monitors: Path = Path("/nowhere")  # where a test listens in place of monitors, by containers' names
    shares: Mapping[str, int] = field(default_factory=dict)  # of cgroups, as last given
    pod_cidr: str = ""
    cluster_cidr: str = ""
    mounts: dict[Path, str] = field(default_factory=dict)  # ids of images by place; what is no directory is no more
    sandboxes: dict[str, SeenSandbox] = field(default_factory=dict)
    containers: dict[str, SeenContainer] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    released: dict[str, float] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    pokes: list[Callable[[str], None]] = field(default_factory=list)
    image_pokes: list[Callable[[], None]] = field(default_factory=list)
    next_id: int = 1

    def add_image(self, *names: str, user: str = "", stop_signal: str = "") -> Image:
        """An image that is already on the host."""
        image = Image(id=f"sha256:{len(self.local_images):064x}", names=names, size=1000, user=user,
                      stop_signal=stop_signal)  # fmt: skip
        self.local_images.update(dict.fromkeys((*names, image.id), image))
        self.tell_images()
        return image

    def tell_images(self) -> None:
        """Images came or went."""
        for changed in list(self.image_pokes):
            changed()

    def program(self, spec: ContainerSpec) -> Program:
        """What this attempt does."""
        script = self.programs.get(f"{spec.pod_name}/{spec.name}", self.programs.get(spec.name, self.default))
        return script if isinstance(script, Program) else script[min(spec.attempt, len(script) - 1)]


class FakeRuntime:
    """See the module; `calls` of the host lists every call as (verb, pod uid, container, …)."""

    def __init__(self, host: FakeHost | None = None) -> None:
        self.host = host or FakeHost()
        self._poke: Callable[[str], None] | None = None
        self._images_changed: Callable[[], None] | None = None

    # ---- the script's hands

    def find(self, pod_uid: str, name: str) -> SeenContainer:
        """The newest attempt of a container; KeyError when there is none."""
        found = [c for c in self.host.containers.values() if (c.pod_uid, c.name) == (pod_uid, name)]
        if not found:
            raise KeyError((pod_uid, name))
        return max(found, key=lambda c: c.attempt)

    def exit(self, container_id: str, code: int, *, oom: bool = False) -> None:
        """The container's process ends now."""
        seen = self.host.containers.get(container_id)
        if seen is None or seen.state is not State.RUNNING:
            return
        spec = self.host.specs[container_id]
        if words := self.host.program(spec).last_words:
            Path(next(m.source for m in spec.mounts if m.destination == "/dev/termination-log")).write_text(words)
        self.host.containers[container_id] = replace(
            seen, state=State.EXITED, exit_code=code, oom_killed=oom, finished_at=self.now(), pid=0
        )
        self._tell(seen.pod_uid)

    def lose(self, container_id: str) -> None:
        """The runtime loses track of the container: its monitor died."""
        seen = self.host.containers[container_id]
        self.host.containers[container_id] = replace(seen, state=State.LOST, pid=0, finished_at=self.now())
        self._tell(seen.pod_uid)

    def lose_sandbox(self, pod_uid: str) -> None:
        """The first process of the pod's is killed, and with it all of them."""
        self.host.sandboxes[pod_uid] = replace(self.host.sandboxes[pod_uid], lost=True)
        for container in [c for c in self.host.containers.values() if c.pod_uid == pod_uid]:
            self.exit(container.id, 137)

    def set_away(self, away: bool) -> None:
        """The runtime's service goes, or comes back and pokes."""
        self.host.away = away
        self._tell("")

    def write_log(self, container_id: str, line: str, stream: str = "stdout") -> None:
        """One line of output, as conmon writes it (G1)."""
        path = self.host.containers[container_id].log_path
        if path:
            with Path(path).open("a") as file:
                file.write(f"2027-01-15T08:00:00.000000000+00:00 {stream} F {line}\n")

    @staticmethod
    def now() -> int:
        """Nanoseconds since the epoch, by the loop's clock."""
        return int((EPOCH + asyncio.get_running_loop().time()) * 1e9)

    # ---- the port

    async def pods(self) -> dict[str, SeenPod]:
        self._call("pods")
        uids = {*self.host.sandboxes, *(c.pod_uid for c in self.host.containers.values())}
        found = {uid: self._pod(uid) for uid in uids}
        return {uid: pod for uid, pod in found.items() if pod}

    async def pod(self, uid: str) -> SeenPod | None:
        self._call("pod", uid)
        return self._pod(uid)

    async def make_sandbox(self, spec: SandboxSpec) -> SeenSandbox:
        self._call("make_sandbox", spec.pod_uid)
        await asyncio.sleep(self.host.sandbox_seconds)
        if self.host.sandbox_failure:
            raise self.host.sandbox_failure
        if spec.pod_uid not in self.host.sandboxes:
            self.host.sandboxes[spec.pod_uid] = SeenSandbox(
                pod_uid=spec.pod_uid, namespace=spec.namespace, name=spec.name,
                ip="" if spec.host_network else self._address(), created_at=self.now(),
                host_network=spec.host_network, netns="" if spec.host_network else f"/fake/netns/{spec.pod_uid}.net",
            )  # fmt: skip
        return self.host.sandboxes[spec.pod_uid]

    async def remove_sandbox(self, uid: str) -> None:
        self._call("remove_sandbox", uid)
        seen = self.host.sandboxes.pop(uid, None)
        if seen and seen.ip:
            self.host.released[seen.ip] = asyncio.get_running_loop().time()

    async def image(self, reference: str) -> Image | None:
        self._call("image", reference)
        if not reference or reference != reference.strip() or any(c in reference for c in " \t|<>"):
            raise RuntimeFailure("InvalidImageName", f'cannot read the image name "{reference}": invalid reference')
        found = self.host.local_images.get(reference)
        if found is None and self.host.any_image and reference not in self.host.registry:
            found = self.host.add_image(reference)
        return found

    async def images(self) -> list[Image]:
        self._call("images")
        return list({i.id: i for i in self.host.local_images.values()}.values())

    async def pull(
        self, reference: str, credentials: Credentials | None = None, told: Callable[[Progress], None] = lambda _: None
    ) -> Image:
        self._call("pull", reference)
        for step in self.host.pull_progress:
            await asyncio.sleep(self.host.pull_seconds / len(self.host.pull_progress))
            told(step)
        await asyncio.sleep(0 if self.host.pull_progress else self.host.pull_seconds)
        found = self.host.registry.get(reference)
        if reference in self.host.private and credentials != self.host.private[reference]:
            raise RuntimeFailure("ErrImagePull", f"cannot pull image {reference}: unauthorized")
        if found is None:
            raise RuntimeFailure("ErrImagePull", f"cannot pull image {reference}: not found")
        if isinstance(found, RuntimeFailure):
            raise found
        self.host.local_images.update(dict.fromkeys((reference, *found.names, found.id), found))
        self.host.tell_images()
        return found

    async def remove_image(self, image: Image) -> None:
        self._call("remove_image", image.id)
        used = {c.image_id for c in self.host.containers.values()} | await self.mounted_images()
        if image.id in used:
            raise RuntimeFailure("ImageInUse", f"cannot remove image {image.id}: a container uses it")
        self.host.local_images = {name: i for name, i in self.host.local_images.items() if i.id != image.id}
        self.host.tell_images()

    async def mount_image(self, image: Image, target: Path) -> None:
        self._call("mount_image", image.id, str(target))
        if image.id not in self.host.local_images:
            raise RuntimeFailure("FailedMount", f"cannot mount image {image.id}: no such image")
        if target not in self.host.mounts or not target.is_dir():
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.host.mounts[target] = image.id

    async def mounted_images(self) -> set[str]:
        return {image for target, image in self.host.mounts.items() if target.is_dir()}

    async def load_image(self, archive: Path) -> list[Image]:
        """The fake's archive is a text: the images' names, one in a line."""
        self._call("load_image")
        names = archive.read_text(errors="replace").split()
        if not names or any("\0" in name for name in names):
            raise RuntimeFailure("ImageLoadError", "cannot load images: this is no archive of images")
        return [self.host.add_image(name) for name in names]

    async def create(self, spec: ContainerSpec) -> str:
        self._call("create", spec.pod_uid, spec.name, str(spec.attempt))
        program = self.host.program(spec)
        await asyncio.sleep(program.create_seconds)
        if program.create_failure:
            raise program.create_failure
        if not (spec.host_network or spec.pod_uid in self.host.sandboxes):
            raise RuntimeFailure("CreateContainerError", f"cannot create container {spec.name}: the pod has no sandbox")
        for old in list(self.host.containers.values()):
            if (old.pod_uid, old.name, old.attempt) == (spec.pod_uid, spec.name, spec.attempt):
                if old.state is State.RUNNING:
                    return old.id
                del self.host.containers[old.id]
        return self._add(spec)

    async def start(self, container_id: str) -> None:
        seen = self.host.containers.get(container_id)
        self._call("start", seen.pod_uid if seen else "", seen.name if seen else container_id)
        if seen is None:
            raise RuntimeFailure("RunContainerError", f"cannot start container {container_id[:12]}: no such container")
        if seen.state is State.RUNNING:
            return
        program = self.host.program(self.host.specs[container_id])
        await asyncio.sleep(program.start_seconds)
        if program.start_failure:
            raise program.start_failure
        self.host.containers[container_id] = replace(seen, state=State.RUNNING, started_at=self.now(), pid=4242)
        for line in program.output:
            self.write_log(container_id, line)
        if program.exit_after is not None:
            leave = lambda: self.exit(container_id, program.exit_code, oom=program.oom)  # noqa: E731
            asyncio.get_running_loop().call_later(program.exit_after, leave)

    async def kill(self, container_id: str, signal: str) -> None:
        seen = self.host.containers.get(container_id)
        self._call("kill", seen.pod_uid if seen else "", seen.name if seen else container_id, signal)
        if seen is None or seen.state is not State.RUNNING:
            return
        number = SIGNALS[signal.removeprefix("SIG")]
        on_term = self.host.program(self.host.specs[container_id]).on_term
        if number == SIGNALS["KILL"]:
            self.exit(container_id, 137)
        elif number == SIGNALS["TERM"] and on_term is not None:
            self.exit(container_id, on_term)

    async def weigh(self, shares: Mapping[str, int]) -> None:
        self.host.shares = dict(shares)

    async def resize(self, container_id: str, limits: Limits) -> None:
        seen = self.host.containers.get(container_id)
        self._call("resize", seen.pod_uid if seen else "", seen.name if seen else container_id)
        if seen is None or seen.state is not State.RUNNING:
            return
        if limits.memory and self.host.memory_in_use > limits.memory:
            why = f"a memory limit of {limits.memory} bytes is below what is in use, {self.host.memory_in_use} bytes"
            raise RuntimeFailure("ResizeError", f"cannot resize container {seen.name}: {why}")
        self.host.specs[container_id] = replace(self.host.specs[container_id], limits=limits)

    async def remove(self, container_id: str) -> None:
        seen = self.host.containers.pop(container_id, None)
        self._call("remove", seen.pod_uid if seen else "", seen.name if seen else container_id)

    async def reopen_log(self, container_id: str) -> None:
        seen = self.host.containers.get(container_id)
        self._call("reopen_log", seen.pod_uid if seen else "")
        if seen is None or seen.state is not State.RUNNING:
            raise RuntimeFailure("LogReopenError", "the container does not run")
        Path(seen.log_path).touch()

    def exec_command(self, container: SeenContainer, command: Sequence[str], *, tty: bool = False) -> list[str]:
        return list(command)

    def attachment(self, container: SeenContainer) -> Path:
        return self.host.monitors / container.name

    def resize_terminal(self, container: SeenContainer, rows: int, columns: int) -> None:
        self._call("resize_terminal", container.pod_uid, container.name, f"{rows}x{columns}")

    def on_change(self, poke: Callable[[str], None]) -> None:
        self._poke = poke
        self.host.pokes.append(poke)

    def on_images(self, changed: Callable[[], None]) -> None:
        self._images_changed = changed
        self.host.image_pokes.append(changed)

    async def configure(self, pod_cidr: str, cluster_cidr: str) -> None:
        self._call("configure", pod_cidr, cluster_cidr)
        self.host.pod_cidr, self.host.cluster_cidr = pod_cidr, cluster_cidr

    async def close(self) -> None:
        if self._poke in self.host.pokes:
            self.host.pokes.remove(self._poke)
        if self._images_changed in self.host.image_pokes:
            self.host.image_pokes.remove(self._images_changed)

    # ---- inside

    def _call(self, *call: str) -> None:
        self.host.calls.append(call)
        if self.host.away:
            raise RuntimeFailure("RuntimeUnavailable", "the container runtime does not answer", transient=True)

    def _tell(self, uid: str) -> None:
        for poke in list(self.host.pokes):
            poke(uid)

    def _address(self) -> str:
        if not self.host.pod_cidr:
            raise RuntimeFailure("FailedCreatePodSandBox", "this host has no range of pod addresses yet")
        taken = {s.ip for s in self.host.sandboxes.values()}
        chosen = choose(self.host.pod_cidr, taken, self.host.released, asyncio.get_running_loop().time())
        if chosen is None:
            raise RuntimeFailure(
                "FailedCreatePodSandBox", f"cannot give the pod an address: the range {self.host.pod_cidr} is full"
            )
        return chosen

    def _add(self, spec: ContainerSpec) -> str:
        container_id = f"{self.host.next_id:064x}"
        self.host.next_id += 1
        log_path = ""
        if self.host.log_dir:
            pod_dir = f"{spec.namespace}_{spec.pod_name}_{spec.pod_uid}"
            path = self.host.log_dir / pod_dir / spec.name / f"{spec.attempt}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            log_path = str(path)
        self.host.specs[container_id] = spec
        self.host.containers[container_id] = SeenContainer(
            id=container_id, pod_uid=spec.pod_uid, name=spec.name, attempt=spec.attempt, role=spec.role,
            state=State.CREATED, spec_hash=spec.spec_hash, image=spec.image, image_id=spec.image_id,
            created_at=self.now(), log_path=log_path, secrets=spec.secret_revisions,
            groups_alone=spec.security.groups_alone,
        )  # fmt: skip
        return container_id

    def _pod(self, uid: str) -> SeenPod | None:
        sandbox = self.host.sandboxes.get(uid)
        mine = [c for c in self.host.containers.values() if c.pod_uid == uid]
        if sandbox is None and not mine:
            return None
        spec = self.host.specs[mine[0].id] if mine else None
        namespace, name = (sandbox.namespace, sandbox.name) if sandbox else ("", "")
        if spec:
            namespace, name = spec.namespace, spec.pod_name
        ordered = tuple(sorted(mine, key=lambda c: (c.name, c.attempt)))
        return SeenPod(uid=uid, namespace=namespace, name=name, sandbox=sandbox, containers=ordered)
