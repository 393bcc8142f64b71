"""Random pods, valid by construction, that a real runtime and the fake can both play, and how they are played.

Rule: the same seed gives the same pod. Nothing in it depends on how fast a host is: within SETTLED seconds every pod
has come to a state that it keeps for a while.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict

from mesh.admission.admit import Stamp, create
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import ConfigMap, Container, Pod, PodSpec, PodStatus, Probe, Volume
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.view import View
from nodeagent.runtime.port import RuntimeFailure
from tests.harness import objects
from tests.harness.fake_runtime import Program
from tests.harness.podman import IMAGE

SETTLED = 9.0  # seconds; the first back-off is over a second later
Script = Program | Sequence[Program]
CONFIG = objects.config_map("there", A="1", B="two")
SHORT = 0.2
NO_PROGRAM = 'cannot start container {}: exec: "/no/such": no such file or directory'


@dataclass(frozen=True, slots=True)
class Played:
    """A pod, and what its containers do on a fake, by name."""

    pod: Pod
    programs: dict[str, Script]


def random_pod(seed: int) -> Played:
    """The pod of a seed, complete."""
    rng = random.Random(seed)
    name = f"r{seed}"
    spec = PodSpec(
        restart_policy=rng.choice(["Always", "Always", "OnFailure", "Never"]),
        termination_grace_period_seconds=20,
        host_network=rng.random() < 0.15,
        volumes=[Volume(name="state")],
    )
    spec.volumes[0].empty_dir.SetInParent()
    if rng.random() < 0.1:
        spec.readiness_gates.add(condition_type="example.com/gate")
    if rng.random() < 0.25:
        volume = spec.volumes.add(name="config")
        volume.config_map.name = rng.choice(["there", "there", "absent"])
        volume.config_map.optional = rng.random() < 0.5
    programs: dict[str, Script] = {}
    for number in range(rng.choice([0, 0, 0, 1, 2])):
        container = _container(rng, f"i{number}", programs, init=True)
        spec.init_containers.append(container)
    for number in range(rng.choice([1, 1, 2, 3])):
        spec.containers.append(_container(rng, f"c{number}", programs, init=False))
    if any(isinstance(p, Program) and p.exit_after is None and p.on_term is None for p in programs.values()):
        spec.termination_grace_period_seconds = 1
    pod = Pod(api_version="v1", kind="Pod", metadata=ObjectMeta(name=name, namespace="default"), spec=spec)
    uid = f"00000000-0000-4000-8000-{seed:012d}"
    made = create(pod, View(Snapshot(1, [objects.namespace("default")])), Stamp(1, uid, "abcde")).object
    assert isinstance(made, Pod)
    return Played(made, {f"{name}/{container}": program for container, program in programs.items()})


def configs() -> list[ConfigMap]:
    """The ConfigMaps that there are."""
    return [CONFIG]


def _container(rng: random.Random, name: str, programs: dict[str, Script], *, init: bool) -> Container:
    made = Container(name=name, image=IMAGE, image_pull_policy="IfNotPresent")
    made.volume_mounts.add(name="state", mount_path="/state")
    sidecar = init and rng.random() < 0.4
    if sidecar:
        made.restart_policy = "Always"
    if init and not sidecar:
        kinds = {_ends: 6, _recovers: 2, _no_program: 1, _no_config: 1}
    elif sidecar:  # none that ends again and again: how often, until its pod is over, is the host's to say
        kinds = {_lives: 6, _stubborn: 1, _recovers: 2, _no_program: 1, _no_config: 1}
    else:
        kinds = {_lives: 6, _stubborn: 1, _ends: 4, _recovers: 2, _no_memory: 1, _no_program: 1, _no_config: 1,
                 _no_image: 1, _as_root: 1}  # fmt: skip
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    script, programs[name] = kind(rng, made)
    if script:
        made.command.extend(["sh", "-c", script])
    if rng.random() < 0.3:
        made.resources.requests["memory"] = "8Mi"
        if rng.random() < 0.5:
            made.resources.limits["memory"] = made.resources.requests["memory"] = "32Mi"
            made.resources.limits["cpu"] = "100m"
    if sidecar or not init:
        _probes(rng, made)
    return made


def _probes(rng: random.Random, container: Container) -> None:
    def probe() -> Probe:
        made = Probe(period_milliseconds=500, failure_threshold=1, initial_delay_seconds=1, timeout_seconds=20)
        made.exec.command.extend(rng.choice([["true"], ["true"], _failure(container)]))
        return made

    if rng.random() < 0.25:
        container.readiness_probe.CopyFrom(probe())
    if rng.random() < 0.15:
        container.liveness_probe.CopyFrom(probe())
    if rng.random() < 0.15:
        container.startup_probe.CopyFrom(probe())
    if rng.random() < 0.15:
        container.lifecycle.post_start.exec.command.extend(rng.choice([["true"], _failure(container)]))
    if rng.random() < 0.15:
        container.lifecycle.pre_stop.exec.command.append("true")


def _failure(container: Container) -> list[str]:
    """A check that fails, but not before the container is up: a shell that has just begun has set no trap yet."""
    return ["sh", "-c", f"until [ -e /state/{container.name}-up ]; do sleep 0.1; done; exit 1"]


# ---- what containers do: a script for a shell, and the same for the fake


def _live(container: Container, trap: str) -> str:
    up = f"/state/{container.name}-up"
    return f"rm -f {up}; trap '{trap}' TERM; touch {up}; sleep 100000 & wait $!"


def _lives(_rng: random.Random, container: Container) -> tuple[str, Script]:
    return _live(container, "exit 0"), Program(on_term=0)


def _stubborn(_rng: random.Random, container: Container) -> tuple[str, Script]:
    return _live(container, ""), Program(on_term=None)


def _ends(rng: random.Random, container: Container) -> tuple[str, Script]:
    code = rng.choice([0, 0, 1, 3, 137])
    said = rng.choice(["", "", "words"])
    if said and rng.random() < 0.5:
        container.termination_message_policy = "FallbackToLogsOnError"
        return f"echo {said}; sleep {SHORT}; exit {code}", Program(SHORT, code, None, output=(said,))
    script = f"printf '{said}' >/dev/termination-log; sleep {SHORT}; exit {code}"
    return script, Program(SHORT, code, None, last_words=said)


def _recovers(_rng: random.Random, container: Container) -> tuple[str, Script]:
    mark = f"/state/{container.name}"
    end = _live(container, "exit 0")
    if container.name.startswith("i") and not container.HasField("restart_policy"):
        end = "exit 0"
    last = Program(0.01, 0, None) if end == "exit 0" else Program(on_term=0)
    return f"if [ -e {mark} ]; then {end}; fi; touch {mark}; sleep {SHORT}; exit 3", (Program(SHORT, 3, None), last)


def _no_memory(_rng: random.Random, container: Container) -> tuple[str, Script]:
    container.resources.limits["memory"] = "16Mi"
    return "exec dd if=/dev/zero of=/dev/null bs=200M count=1", Program(SHORT, 137, None, oom=True)


def _no_program(_rng: random.Random, container: Container) -> tuple[str, Script]:
    container.command.append("/no/such")
    failure = RuntimeFailure("RunContainerError", NO_PROGRAM.format(container.name))
    return "", Program(start_failure=failure)


def _no_config(_rng: random.Random, container: Container) -> tuple[str, Script]:
    container.env.add(name="X").value_from.config_map_key_ref.name = "absent"
    container.env[0].value_from.config_map_key_ref.key = "x"
    return "", Program()


def _no_image(_rng: random.Random, container: Container) -> tuple[str, Script]:
    container.image = "localhost/none:1"
    return "", Program()


def _as_root(_rng: random.Random, container: Container) -> tuple[str, Script]:
    container.security_context.run_as_non_root = True
    return "", Program()


# ---- what is compared


_TIMES = {"startTime", "lastTransitionTime", "lastProbeTime", "startedAt", "finishedAt"}
_NAMES = {"containerID", "containerId", "imageID", "imageId", "podIP", "podIp", "ip", "hostIP", "hostIp"}


def comparable(status: PodStatus) -> object:
    """A status with every field, but of times, addresses and ids only that they are there."""
    return _masked(MessageToDict(status))


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {k: "…" if k in _TIMES | _NAMES else _masked(v) for k, v in value.items()}
    return [_masked(v) for v in value] if isinstance(value, list) else value


def differences(said: object, wanted: object, path: str = "") -> list[str]:
    """Where two statuses differ, in words."""
    if isinstance(said, dict) and isinstance(wanted, dict):
        keys = sorted({*said, *wanted})
        return [d for k in keys for d in differences(said.get(k), wanted.get(k), f"{path}.{k}")]
    if isinstance(said, list) and isinstance(wanted, list) and len(said) == len(wanted):
        pairs = enumerate(zip(said, wanted, strict=True))
        return [d for n, (one, other) in pairs for d in differences(one, other, f"{path}[{n}]")]
    return [] if said == wanted else [f"{path}: really {said!r}, on the fake {wanted!r}"]
