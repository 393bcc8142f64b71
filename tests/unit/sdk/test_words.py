"""A pod's status word, readiness and restarts as kubectl's printPod has them; ages as kubectl writes them."""

import pytest

from mesh.model import manifest
from mesh.sdk.words import age, duration, last_failure, summary, why_waiting
from mesh.v1.core_pb2 import Pod

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (1.9, "1s"), (119, "119s"), (120, "2m"), (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"), (659, "10m"), (179 * 60, "179m"), (180 * 60, "3h"), (200 * 60, "3h20m"), (8 * 3600, "8h"),
        (47 * 3600 + 3599, "47h"), (48 * 3600, "2d"), (51 * 3600, "2d3h"), (8 * 86400, "8d"), (729 * 86400, "729d"),
        (730 * 86400, "2y"), (740 * 86400, "2y10d"), (8 * 365 * 86400 + 86400, "8y"),
    ],
)  # fmt: skip
def test_durations_read_as_kubectls(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def pod(spec: str = "", status: str = "", meta: str = "") -> Pod:
    containers = "" if "containers:" in spec.replace("initContainers:", "") else "containers: [{name: app, image: x}], "
    text = (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: web{', ' + meta if meta else ''}}}, "
        f"spec: {{{containers}{spec}}}, status: {{{status}}}}}"
    )
    loaded = manifest.load(text, "test").objects[0]
    assert isinstance(loaded, Pod)
    return loaded


TWO = "containers: [{name: app, image: x}, {name: b, image: x}]"
INIT = "initContainers: [{name: i, image: x}, {name: j, image: x}]"
SIDE = "initContainers: [{name: side, image: x, restartPolicy: Always}]"
RUNNING = "{name: app, ready: true, state: {running: {}}}"
READY = "conditions: [{type: Ready, status: 'True'}]"
AT = "'2026-01-31T12:00:00Z'"


def terminated(name: str = "app", code: int = 0, reason: str = "", signal: int = 0, restarts: int = 0) -> str:
    return (
        f"{{name: {name}, restartCount: {restarts}, state: {{terminated: "
        f"{{exitCode: {code}, reason: '{reason}', signal: {signal}}}}}}}"
    )


def waiting(reason: str, name: str = "app", restarts: int = 0, ready: str = "false") -> str:
    return f"{{name: {name}, ready: {ready}, restartCount: {restarts}, state: {{waiting: {{reason: {reason}}}}}}}"


CASES = {
    "nothing known yet": (pod(), "Pending", "0/1"),
    "pending": (pod(status="phase: Pending"), "Pending", "0/1"),
    "running": (pod(status=f"phase: Running, containerStatuses: [{RUNNING}]"), "Running", "1/1"),
    "one of two ready": (
        pod(TWO, f"phase: Running, containerStatuses: [{RUNNING}, {{name: b, state: {{running: {{}}}}}}]"),
        "Running", "1/2",
    ),
    "the pod's own reason wins over its phase": (pod(status="phase: Failed, reason: Evicted"), "Evicted", "0/1"),
    "creating": (pod(status=f"phase: Pending, containerStatuses: [{waiting('ContainerCreating')}]"),
                 "ContainerCreating", "0/1"),
    "image": (pod(status=f"phase: Pending, containerStatuses: [{waiting('ErrImagePull')}]"), "ErrImagePull", "0/1"),
    "crash loop": (pod(status=f"phase: Running, containerStatuses: [{waiting('CrashLoopBackOff', restarts=3)}]"),
                   "CrashLoopBackOff", "0/1"),
    "the first container's reason wins": (
        pod(TWO, f"phase: Running, containerStatuses: [{waiting('CrashLoopBackOff')}, {waiting('ErrImagePull', 'b')}]"),
        "CrashLoopBackOff", "0/2",
    ),
    "completed": (pod(status=f"phase: Succeeded, containerStatuses: [{terminated(reason='Completed')}]"),
                  "Completed", "0/1"),
    "error": (pod(status=f"phase: Failed, containerStatuses: [{terminated(code=3, reason='Error')}]"), "Error", "0/1"),
    "ended without a reason": (pod(status=f"phase: Failed, containerStatuses: [{terminated(code=3)}]"),
                               "ExitCode:3", "0/1"),
    "ended by a signal": (pod(status=f"phase: Failed, containerStatuses: [{terminated(code=137, signal=9)}]"),
                          "Signal:9", "0/1"),
    "one completed, one runs, ready": (
        pod(TWO, f"phase: Running, {READY}, containerStatuses: [{terminated('app', reason='Completed')}, "
                 f"{RUNNING.replace('app', 'b')}]"),
        "Running", "1/2",
    ),
    "one completed, one runs, not ready": (
        pod(TWO, f"phase: Running, containerStatuses: [{terminated('app', reason='Completed')}, "
                 f"{RUNNING.replace('app', 'b')}]"),
        "NotReady", "1/2",
    ),
    "first of two init containers": (
        pod(INIT, "phase: Pending, initContainerStatuses: [{name: i, state: {running: {}}}, {name: j}]"),
        "Init:0/2", "0/1",
    ),
    "second of two init containers": (
        pod(INIT, f"phase: Pending, initContainerStatuses: [{terminated('i')}, {waiting('PodInitializing', 'j')}]"),
        "Init:1/2", "0/1",
    ),
    "init container waits": (
        pod(INIT, f"phase: Pending, initContainerStatuses: [{waiting('CrashLoopBackOff', 'i')}]"),
        "Init:CrashLoopBackOff", "0/1",
    ),
    "init container failed": (
        pod(INIT, f"phase: Pending, initContainerStatuses: [{terminated('i', 2, 'Error')}]"), "Init:Error", "0/1",
    ),
    "init container failed without a reason": (
        pod(INIT, f"phase: Pending, initContainerStatuses: [{terminated('i', 2)}]"), "Init:ExitCode:2", "0/1",
    ),
    "initialized": (
        pod(INIT, f"phase: Running, initContainerStatuses: [{terminated('i')}, {terminated('j')}], "
                  f"containerStatuses: [{RUNNING}]"),
        "Running", "1/1",
    ),
    "a sidecar counts": (
        pod(SIDE, "phase: Running, initContainerStatuses: [{name: side, ready: true, started: true, "
                  f"state: {{running: {{}}}}}}], containerStatuses: [{RUNNING}]"),
        "Running", "2/2",
    ),
    "a sidecar that has not started": (
        pod(SIDE, "phase: Pending, initContainerStatuses: [{name: side, state: {running: {}}}]"), "Init:0/1", "0/2",
    ),
    "gated": (
        pod(status="phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]"),
        "SchedulingGated", "0/1",
    ),
    "terminating": (
        pod(meta=f"deletionTimestamp: {AT}", status=f"phase: Running, containerStatuses: [{RUNNING}]"),
        "Terminating", "1/1",
    ),
    "terminating, and over": (
        pod(meta=f"deletionTimestamp: {AT}",
            status=f"phase: Failed, containerStatuses: [{terminated(code=1, reason='Error')}]"),
        "Error", "0/1",
    ),
    "terminating on a lost node": (
        pod(meta=f"deletionTimestamp: {AT}", status="phase: Running, reason: NodeLost"), "Unknown", "0/1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_status_and_readiness_are_kubectls(case: str) -> None:
    found = summary(CASES[case][0])
    assert (found.status, f"{found.ready}/{found.total}") == CASES[case][1:]


def ended_at(stamp: str) -> str:
    return f"lastState: {{terminated: {{exitCode: 1, finishedAt: '{stamp}'}}}}"


def test_restarts_tell_when_the_last_one_was() -> None:
    status = f"{{name: app, restartCount: 3, {ended_at('2027-01-15T07:55:00Z')}, state: {{running: {{}}}}}}"
    found = summary(pod(status=f"phase: Running, containerStatuses: [{status}]"))
    assert found.restarts_text(NOW) == "3 (5m ago)"
    assert summary(pod()).restarts_text(NOW) == "0"
    assert summary(pod(status=f"containerStatuses: [{waiting('X', restarts=2)}]")).restarts_text(NOW) == "2"


def test_restarts_of_init_containers_count_only_while_initializing() -> None:
    init = f"initContainerStatuses: [{terminated('i', restarts=4)}, {terminated('j')}]"
    assert summary(pod(INIT, f"phase: Running, {init}, containerStatuses: [{RUNNING}]")).restarts == 0
    now_at = f"initContainerStatuses: [{waiting('CrashLoopBackOff', 'i', restarts=4)}]"
    assert summary(pod(INIT, f"phase: Pending, {now_at}")).restarts == 4


def test_restarts_of_sidecars_count_always() -> None:
    side = "{name: side, restartCount: 2, ready: true, started: true, state: {running: {}}}"
    found = summary(pod(SIDE, f"phase: Running, initContainerStatuses: [{side}], containerStatuses: [{RUNNING}]"))
    assert found.restarts == 2


def test_why_a_pod_waits() -> None:
    text = "{name: app, state: {waiting: {reason: ErrImagePull, message: no such image}}}"
    assert why_waiting(pod(status=f"containerStatuses: [{text}]")) == ("app", "ErrImagePull", "no such image")
    assert why_waiting(pod(status=f"containerStatuses: [{waiting('ContainerCreating')}]")) == ("", "", "")


def test_how_a_container_ended_the_last_time() -> None:
    text = "{name: app, lastState: {terminated: {exitCode: 3, reason: Error, message: no disk}}}"
    assert last_failure(pod(status=f"containerStatuses: [{text}]"), "app") == "exit code 3 (Error): no disk"
    assert last_failure(pod(), "app") == ""


def test_an_unset_time_has_no_age() -> None:
    found = pod(meta="creationTimestamp: '2027-01-15T07:00:00Z'")
    assert age(found.metadata.creation_timestamp, NOW) == "60m"
    assert age(Pod().metadata.creation_timestamp, NOW) == "<unknown>"
