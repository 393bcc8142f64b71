"""Secrets in the life of a pod, in bent time: files, environment, pulls, receipts (E4 to E6, I4, V3 to V6)."""

import asyncio
import base64
import json
from pathlib import Path

from mesh.v1.core_pb2 import Container, EnvVar, Pod, Secret, Volume, VolumeMount
from nodeagent.runtime.port import ContainerSpec, Credentials, Image
from tests.harness.agents import World, a_container, a_pod, a_secret
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost

CANARY = "the-canary-sings"


def with_volume(name: str, *, optional: bool = False) -> Pod:
    made = Volume(name="v")
    made.secret.secret_name, made.secret.optional = "s", optional
    mounts = [VolumeMount(name="v", mount_path="/v")]
    return a_pod(name, containers=(a_container(volume_mounts=mounts),), volumes=[made])


def variable(name: str, secret: str, key: str, *, optional: bool = False) -> EnvVar:
    made = EnvVar(name=name)
    made.value_from.secret_key_ref.name, made.value_from.secret_key_ref.key = secret, key
    made.value_from.secret_key_ref.optional = optional
    return made


def all_of(secret: str, prefix: str = "", *, optional: bool = False) -> Container:
    container = a_container()
    source = container.env_from.add(prefix=prefix)
    source.secret_ref.name, source.secret_ref.optional = secret, optional
    return container


def spec_of(world: World, pod: str) -> ContainerSpec:
    return [s for s in world.host.specs.values() if s.pod_name == pod][-1]


def told(spec: ContainerSpec, text: str) -> str:
    """What the container's process reads where the runtime is told `text`."""
    for word, value in spec.secrets.items():
        text = text.replace(word, value)
    return text


async def started(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.start()
    return world


@bent
async def test_files_of_a_secret_lie_in_memory_and_follow_it(tmp_path: Path) -> None:  # V3, V5, V6
    world = await started(tmp_path)
    await world.reveal(a_secret("s", 5, key=CANARY, raw=b"\xff\0"))
    await world.assign(with_volume("web"))
    await world.until(lambda: world.phase("web") == "Running")
    volume = world.config.memory_dir / "uid-web" / "v"
    assert [(m.source, m.read_only) for m in spec_of(world, "web").mounts if m.destination == "/v"] == [
        (str(volume), True)
    ]
    assert ((volume / "key").read_text(), (volume / "raw").read_bytes()) == (CANARY, b"\xff\0")
    assert world.receipts("web") == {("volume v", "s"): "5"}
    await world.reveal(a_secret("s", 9, key="new"))
    await world.until(lambda: world.receipts("web") == {("volume v", "s"): "9"}, 1.0)
    assert sorted(p.name for p in volume.iterdir() if not p.name.startswith("..")) == ["key"]
    assert (volume / "key").read_text() == "new"
    assert len([c for c in world.host.calls if c[0] == "create"]) == 1
    await world.remove("web")
    await world.until(lambda: world.gone("web"))
    assert not volume.exists()
    await world.kill()


@bent
async def test_a_missing_secret_is_waited_for_and_an_optional_one_is_not(tmp_path: Path) -> None:  # V4, V16, E4
    world = await started(tmp_path)
    missing = a_pod("env", containers=(all_of("s"),))
    maybe = a_pod("maybe", containers=(all_of("s", optional=True),))
    await world.assign(with_volume("web"), with_volume("opt", optional=True), missing, maybe)
    await world.until(lambda: world.phase("opt") == world.phase("maybe") == "Running")
    await asyncio.sleep(5)
    assert world.waiting("web") == "ContainerCreating"
    assert 'secret "s" not found' in world.event("web", "FailedMount").message
    assert world.waiting("env") == "CreateContainerConfigError"
    assert 'secret "s" not found' in message(world, "env")
    await world.reveal(a_secret("s", key="here"))
    await world.until(lambda: world.phase("web") == world.phase("env") == "Running", 2.0)
    await world.until((world.hidden("opt", "v") / "key").exists, 2.0)
    await world.kill()


def message(world: World, pod: str) -> str:
    return world.status(pod).container_statuses[0].state.waiting.message


@bent
async def test_what_a_host_is_not_given_is_said_also_where_it_is_optional(tmp_path: Path) -> None:
    world = await started(tmp_path)
    world.withheld["s"] = "a host may hold 10 bytes"
    await world.assign(with_volume("web", optional=True), a_pod("env", containers=(all_of("s", optional=True),)))
    await world.until(lambda: world.waiting("env") == "CreateContainerConfigError")
    assert 'secret "s" is withheld: a host may hold 10 bytes' in message(world, "env")
    await world.until(lambda: "FailedMount" in world.reasons("web"))
    assert "is withheld" in world.event("web", "FailedMount").message
    await world.kill()


@bent
async def test_an_environment_is_told_by_stand_ins_alone(tmp_path: Path) -> None:  # E2, E3, E5
    world = await started(tmp_path)
    await world.reveal(a_secret("s", 7, PASSWORD=CANARY, EMPTY="", user="ada"))
    container = all_of("s", "P_")
    container.command.extend(["serve", "--token=$(TOKEN)"])
    container.args.append("$(TOKEN)$(P_user)")
    container.env.extend([
        variable("TOKEN", "s", "PASSWORD"), EnvVar(name="URL", value="pg://$(P_user):$(TOKEN)@db"),
        variable("NONE", "s", "none", optional=True), EnvVar(name="P_user", value="bob"),
    ])  # fmt: skip
    await world.assign(a_pod("web", containers=(container,)))
    await world.until(lambda: world.phase("web") == "Running")
    spec = spec_of(world, "web")
    assert CANARY not in repr(spec)
    assert "ada" not in repr(spec)
    assert {k: told(spec, v) for k, v in spec.env.items() if k != "HOSTNAME"} == {
        "P_PASSWORD": CANARY, "P_EMPTY": "", "P_user": "bob", "TOKEN": CANARY, "URL": f"pg://ada:{CANARY}@db",
    }  # fmt: skip
    assert [told(spec, word) for word in (*spec.command, *spec.args)] == [
        "serve", f"--token={CANARY}", f"{CANARY}bob",
    ]  # fmt: skip
    assert spec.secret_revisions == {"s": "7"}
    assert world.receipts("web") == {("environment of main", "s"): "7"}
    await world.reveal(a_secret("s", 8, PASSWORD="new"))
    await asyncio.sleep(5)
    assert world.receipts("web") == {("environment of main", "s"): "7"}  # E6: frozen
    await world.kill()


@bent
async def test_values_that_no_variable_can_have_are_refused_by_name(tmp_path: Path) -> None:
    world = await started(tmp_path)
    await world.reveal(a_secret("s", binary=b"\xff", zero=b"a\0b", long="x" * 131072))
    refused = {"binary": "no text", "zero": "zero byte", "long": "131072 bytes", "none": "no key"}
    pods = [a_pod(key, containers=(a_container(env=[variable("X", "s", key)]),)) for key in refused]
    path = a_pod("path", containers=(a_container(
        env=[variable("X", "s", "long2")],
        volume_mounts=[VolumeMount(name="e", mount_path="/e", sub_path_expr="$(X)")]),))  # fmt: skip
    path.spec.volumes.add(name="e").empty_dir.SetInParent()
    await world.reveal(a_secret("s", 2, binary=b"\xff", zero=b"a\0b", long="x" * 131072, long2=CANARY))
    await world.assign(*pods, path)
    await world.until(lambda: all(world.waiting(n) == "CreateContainerConfigError" for n in (*refused, "path")))
    for key, words in refused.items():
        assert f'"{key}"' in message(world, key)
        assert words in message(world, key)
    assert "value of a Secret in a path" in message(world, "path")
    assert CANARY not in message(world, "path")
    await world.kill()


@bent
async def test_an_environment_that_could_leak_is_refused_and_files_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.exposure = "memory that may be swapped"
    await world.start()
    await world.reveal(a_secret("s", key="x"))
    await world.assign(a_pod("env", containers=(all_of("s"),)), with_volume("web"))
    await world.until(lambda: world.waiting("env") == "CreateContainerConfigError")
    assert "memory that may be swapped" in message(world, "env")
    assert "env_in_swap" in message(world, "env")
    await world.until(lambda: "FailedMount" in world.reasons("web"))
    await world.kill()


@bent
async def test_a_new_agent_waits_for_its_secrets_says_so_and_touches_nothing(tmp_path: Path) -> None:
    world = await started(tmp_path)
    await world.reveal(a_secret("s", 5, key=CANARY))
    await world.assign(with_volume("web"), a_pod("env", containers=(all_of("s"),)))
    await world.until(lambda: world.phase("web") == world.phase("env") == "Running")
    checkpoint = world.config.state_dir / "checkpoint"
    await asyncio.sleep(1)
    assert CANARY.encode() not in checkpoint.read_bytes()
    assert b"uid-s" not in checkpoint.read_bytes()
    await world.restart(assign=False)
    await asyncio.sleep(5)
    assert len([c for c in world.host.calls if c[0] == "create"]) == 2
    world.runtime.exit(world.runtime.find("uid-env", "main").id, 1)
    await world.until(lambda: world.waiting("env") == "CreateContainerConfigError")
    assert "is not in this host's memory" in message(world, "env")
    assert (world.hidden("web", "v") / "key").read_text() == CANARY
    await world.assign()
    await world.until(lambda: world.waiting("env") == "")
    await world.until(lambda: world.receipts("web") == {("volume v", "s"): "5"})
    assert len([c for c in world.host.calls if c[0] == "create"]) == 3
    await world.kill()


DOCKER = "kubernetes.io/dockerconfigjson"


def pull_secret(name: str, **auths: str) -> Secret:
    entries = {place: {"auth": base64.b64encode(text.encode()).decode()} for place, text in auths.items()}
    made = a_secret(name, **{".dockerconfigjson": json.dumps({"auths": entries})})
    made.type = DOCKER
    return made


@bent
async def test_a_private_image_is_pulled_with_the_pods_credentials(tmp_path: Path) -> None:  # I4
    reference = "registry.example/team/app:1"
    host = FakeHost(any_image=False)
    host.registry[reference] = Image("sha256:1", (reference,), 1)
    host.private[reference] = Credentials("ada", "pass:word")
    world = World(tmp_path, host)
    await world.start()
    container = a_container(image=reference)
    anonymous = a_pod("anonymous", containers=(container,))
    pod = a_pod("web", containers=(container,))
    pod.spec.image_pull_secrets.add(name="gone")
    pod.spec.image_pull_secrets.add(name="pull")
    await world.assign(anonymous, pod)
    await world.until(lambda: "FailedToRetrieveImagePullSecret" in world.reasons("web"))
    await world.reveal(pull_secret("pull", **{"registry.example": "eve:x", "registry.example/team": "ada:pass:word"}))
    await world.until(lambda: world.phase("web") == "Running", 30)
    assert "pass:word" not in repr(host.calls)
    assert world.waiting("anonymous") in ("ErrImagePull", "ImagePullBackOff")
    await world.kill()


@bent
async def test_a_changed_secret_is_told_to_those_who_mount_it_and_asked_for_it(tmp_path: Path) -> None:
    world = await started(tmp_path)
    await world.reveal(a_secret("s", key="old"))
    pod, quiet, env = with_volume("web"), with_volume("quiet"), a_pod("env", containers=(all_of("s"),))
    for each in (pod, env):
        each.metadata.annotations["mesh/on-secret-change"] = "signal HUP"
    await world.assign(pod, quiet, env)
    await world.until(lambda: all(world.phase(name) == "Running" for name in ("web", "quiet", "env")))
    assert not [c for c in world.host.calls if c[0] == "kill"]
    await world.reveal(a_secret("s", 2, key="new"))
    await world.until(lambda: "SecretChanged" in world.reasons("web"))
    assert [c for c in world.host.calls if c[0] == "kill"] == [("kill", "uid-web", "main", "HUP")]
    await world.reveal(a_secret("s", 3, key="new"))  # another revision, the same files
    await asyncio.sleep(5)
    assert len([c for c in world.host.calls if c[0] == "kill"]) == 1
    await world.kill()
