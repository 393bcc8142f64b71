"""A pod in a few words, as kubectl's columns put it: ages, the status word, what it waits for.

Rule: pure; `now` is seconds since the epoch. The status word follows kubectl's printPod.
"""

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.model import conditions, pods
from mesh.v1.core_pb2 import ContainerStatus, Pod

# Waiting reasons that don't mend themselves soon: what `apply --wait` gives up on.
FATAL_WAITING = frozenset({
    "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull",
    "FailedMount", "ImageInspectError", "ImagePullBackOff", "InvalidImageName", "PostStartHookError",
    "RegistryUnavailable", "RunContainerError", "SignatureValidationFailed",
})  # fmt: skip


def duration(seconds: float) -> str:
    """A length of time as kubectl writes it: 45s, 5m, 5m30s, 3h20m, 2d, 2y10d."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return f"{minutes}m" + (f"{whole % 60}s" if whole % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y" + (f"{days % 365}d" if years < 8 and days % 365 else "")


def seconds_of(stamp: Timestamp) -> float:
    """A timestamp in seconds since the epoch; 0 when unset."""
    return float(stamp.seconds) + stamp.nanos / 1e9


def age(stamp: Timestamp, now: float) -> str:
    """How long ago; "<unknown>" for an unset timestamp."""
    at = seconds_of(stamp)
    return duration(now - at) if at else "<unknown>"


@dataclass(slots=True)
class PodSummary:
    """READY, STATUS and RESTARTS of a pod."""

    ready: int = 0
    total: int = 0
    status: str = ""
    restarts: int = 0
    last_restart: float = 0.0

    def count(self, status: ContainerStatus) -> None:
        """Adds a container's restarts."""
        self.restarts += status.restart_count
        if status.last_state.HasField("terminated"):
            self.last_restart = max(self.last_restart, seconds_of(status.last_state.terminated.finished_at))

    def restarts_text(self, now: float) -> str:
        """RESTARTS with the time since the last one: "3 (5m ago)"."""
        if self.restarts and self.last_restart:
            return f"{self.restarts} ({duration(now - self.last_restart)} ago)"
        return str(self.restarts)


def summary(pod: Pod) -> PodSummary:
    """The pod in kubectl's words."""
    sidecars = {c.name for c in pod.spec.init_containers if pods.is_sidecar(c)}
    out = PodSummary(total=len(pod.spec.containers) + len(sidecars))
    out.status = pod.status.reason or pod.status.phase or "Pending"
    if any(c.type == "PodScheduled" and c.reason == "SchedulingGated" for c in pod.status.conditions):
        out.status = "SchedulingGated"
    side = PodSummary()
    initializing = _count_init(pod, sidecars, out, side)
    if not initializing or conditions.is_true(pod.status.conditions, "Initialized"):
        out.restarts, out.last_restart = side.restarts, side.last_restart
        _count_main(pod, out)
    if pod.metadata.HasField("deletion_timestamp"):
        if pod.status.reason == "NodeLost":
            out.status = "Unknown"
        elif pod.status.phase not in ("Succeeded", "Failed"):
            out.status = "Terminating"
    return out


def why_waiting(pod: Pod) -> tuple[str, str, str]:
    """(container, reason, message) of the first container that can't run for a reason of its own; empty otherwise."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting.reason and waiting.reason not in ("ContainerCreating", "PodInitializing"):
            return status.name, waiting.reason, waiting.message
    return "", "", ""


def last_failure(pod: Pod, container: str) -> str:
    """How the container ended the last time: "exit code 3 (Error)"; empty when it never did."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        ended = status.last_state.terminated if status.last_state.HasField("terminated") else status.state.terminated
        if status.name == container and (ended.reason or ended.exit_code):
            text = f"exit code {ended.exit_code}" + (f" ({ended.reason})" if ended.reason else "")
            return text + (f": {ended.message}" if ended.message else "")
    return ""


def _count_init(pod: Pod, sidecars: set[str], out: PodSummary, side: PodSummary) -> bool:
    """Counts init containers; sets the status and answers True while the pod is still at them."""
    for index, status in enumerate(pod.status.init_container_statuses):
        out.count(status)
        sidecar = status.name in sidecars
        if sidecar:
            side.count(status)
        state = status.state
        if state.HasField("terminated") and state.terminated.exit_code == 0:
            continue
        if sidecar and status.started:
            out.ready += status.ready
            continue
        if state.HasField("terminated"):
            out.status = "Init:" + _ended(status)
        elif state.waiting.reason not in ("", "PodInitializing"):
            out.status = f"Init:{state.waiting.reason}"
        else:
            out.status = f"Init:{index}/{len(pod.spec.init_containers)}"
        return True
    return False


def _count_main(pod: Pod, out: PodSummary) -> None:
    running = False
    for status in reversed(pod.status.container_statuses):
        out.count(status)
        state = status.state
        if state.waiting.reason:
            out.status = state.waiting.reason
        elif state.HasField("terminated"):
            out.status = _ended(status)
        elif status.ready and state.HasField("running"):
            running = True
            out.ready += 1
    if out.status == "Completed" and running:
        out.status = "Running" if conditions.is_true(pod.status.conditions, "Ready") else "NotReady"


def _ended(status: ContainerStatus) -> str:
    ended = status.state.terminated
    if ended.reason:
        return ended.reason
    return f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code}"
