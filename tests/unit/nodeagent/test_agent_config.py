"""ConfigMaps in the life of a pod, in bent time: E4 to E6, V1, V5, V6, V16, L16."""

import asyncio
from pathlib import Path

from mesh.v1.core_pb2 import Pod, Volume, VolumeMount
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, Program
from tests.harness.objects import config_map


def with_volume(name: str, config: str, *, optional: bool = False) -> Pod:
    volume = Volume(name="v")
    volume.config_map.name = config
    volume.config_map.optional = optional
    mounts = [VolumeMount(name="v", mount_path="/v")]
    return a_pod(name, containers=(a_container(volume_mounts=mounts),), volumes=[volume])


def with_env(name: str, config: str) -> Pod:
    container = a_container()
    container.env_from.add().config_map_ref.name = config
    return a_pod(name, containers=(container,))


async def shows(world: World, pod: str, file: str, text: str) -> None:
    """A file of the volume reads so after one second (V6)."""
    await asyncio.sleep(1)
    assert (world.volume(pod, "v") / file).read_text() == text


@bent
async def test_a_changed_config_map_reaches_files_and_restarts_nothing(tmp_path: Path) -> None:  # V6, E6
    world = World(tmp_path)
    await world.start()
    await world.configure(config_map("c", key="old"))
    await world.assign(with_volume("web", "c"), with_env("env", "c"))
    await world.until(lambda: world.phase("web") == "Running" and world.phase("env") == "Running")
    spec = next(s for s in world.host.specs.values() if s.pod_name == "web")
    assert [(m.source, m.read_only) for m in spec.mounts if m.destination == "/v"] == [
        (str(world.volume("web", "v")), True)
    ]
    assert next(s for s in world.host.specs.values() if s.pod_name == "env").env["key"] == "old"
    created = [c for c in world.host.calls if c[0] == "create"]
    await world.configure(config_map("c", key="new", other="too"))
    await shows(world, "web", "key", "new")
    await shows(world, "web", "other", "too")
    await asyncio.sleep(100)
    assert [c for c in world.host.calls if c[0] == "create"] == created
    await world.kill()


@bent
async def test_a_config_map_that_goes_leaves_the_files_of_what_runs(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await world.configure(config_map("c", key="old"))
    await world.assign(with_volume("web", "c"))
    await world.until(lambda: world.phase("web") == "Running")
    world.configs.clear()
    await world.assign()
    await asyncio.sleep(20)
    assert (world.volume("web", "v") / "key").read_text() == "old"
    assert world.phase("web") == "Running"
    await world.kill()


@bent
async def test_what_is_missing_is_told_and_comes_without_back_off(tmp_path: Path) -> None:  # E4, V16
    world = World(tmp_path)
    await world.start()
    await world.assign(with_volume("web", "c"), with_env("env", "c"))
    await world.until(lambda: world.waiting("env") == "CreateContainerConfigError")
    waiting = world.status("env").container_statuses[0].state.waiting
    assert 'configmap "c" not found' in waiting.message
    await asyncio.sleep(60)
    assert world.waiting("web") == "ContainerCreating"
    words = world.status("web").container_statuses[0].state.waiting.message
    assert words == 'FailedMount: volume "v": configmap "c" not found'
    assert "FailedMount" in world.reasons("web")
    began = asyncio.get_running_loop().time()
    await world.configure(config_map("c", key="x"))
    await world.until(lambda: world.phase("web") == "Running" and world.phase("env") == "Running")
    assert asyncio.get_running_loop().time() - began < 0.5
    assert (world.restarts("web"), world.restarts("env")) == (0, 0)
    await world.kill()


@bent
async def test_only_pods_that_use_it_are_touched(tmp_path: Path) -> None:  # V12
    world = World(tmp_path)
    await world.start()
    await world.configure(config_map("c", key="1"), config_map("d", key="1"))
    await world.assign(with_volume("uses", "c"), with_volume("not", "d"))
    await world.until(lambda: world.phase("uses") == "Running" and world.phase("not") == "Running")
    link = world.volume("not", "v") / "..data"
    before = link.lstat().st_mtime_ns, link.readlink()
    await world.configure(config_map("c", key="2"))
    await shows(world, "uses", "key", "2")
    assert (link.lstat().st_mtime_ns, link.readlink()) == before
    await world.kill()


@bent
async def test_a_restarted_agent_reads_back_what_volumes_show(tmp_path: Path) -> None:  # V5
    world = World(tmp_path)
    await world.start()
    await world.configure(config_map("c", key="1"))
    await world.assign(with_volume("web", "c"))
    await world.until(lambda: world.phase("web") == "Running")
    await asyncio.sleep(1)
    link = world.volume("web", "v") / "..data"
    before = link.lstat().st_mtime_ns
    await world.restart()
    await asyncio.sleep(5)
    assert link.lstat().st_mtime_ns == before  # no write when unchanged
    await world.kill()
    world.configs["c"] = config_map("c", key="2")  # while no agent was there
    await world.start()
    await world.assign()
    await shows(world, "web", "key", "2")
    assert world.restarts("web") == 0
    await world.kill()


@bent
async def test_a_restarted_agent_starts_pods_from_its_checkpoint(tmp_path: Path) -> None:  # meshd is away
    world = World(tmp_path, FakeHost(programs={"main": [Program(exit_after=30, exit_code=1), Program()]}))
    await world.start()
    await world.configure(config_map("c", key="1"))
    await world.assign(with_env("env", "c"))
    await world.until(lambda: world.phase("env") == "Running")
    await asyncio.sleep(1)
    await world.restart(assign=False)
    await world.until(lambda: world.restarts("env") == 1, 120)
    assert all(s.env["key"] == "1" for s in world.host.specs.values())
    await world.kill()


@bent
async def test_downward_api_files_follow_labels(tmp_path: Path) -> None:  # V6
    world = World(tmp_path)
    await world.start()
    volume = Volume(name="v")
    volume.downward_api.items.add(path="labels").field_ref.field_path = "metadata.labels"
    pod = a_pod("web", volumes=[volume])
    pod.metadata.labels["a"] = "1"
    await world.assign(pod)
    await world.until(lambda: world.phase("web") == "Running")
    changed = Pod()
    changed.CopyFrom(pod)
    changed.metadata.labels["b"] = 'two "2"'
    await world.assign(changed)
    await asyncio.sleep(1)
    assert (world.hidden("web", "v") / "labels").read_text() == 'a="1"\nb="two \\"2\\""'
    await world.kill()


@bent
async def test_last_words_survive_the_agent(tmp_path: Path) -> None:  # L16
    world = World(tmp_path, FakeHost(programs={"main": Program(exit_after=5, exit_code=2)}))
    await world.start()
    await world.assign(
        a_pod("web", containers=(a_container(termination_message_path="/dev/termination-log"),), restart_policy="Never")
    )
    await world.until(lambda: world.phase("web") == "Running")
    spec = next(iter(world.host.specs.values()))
    path = next(m.source for m in spec.mounts if m.destination == "/dev/termination-log")
    assert Path(path).stat().st_mode & 0o777 == 0o666
    Path(path).write_text("x" * 100 + "y" * 4096)
    await world.kill()
    await asyncio.sleep(10)
    await world.restart()
    await world.until(lambda: world.phase("web") == "Failed")
    assert world.status("web").container_statuses[0].state.terminated.message == "y" * 4096  # the end of it
    await world.kill()


@bent
async def test_last_words_of_a_pod_are_12_kib_at_most(tmp_path: Path) -> None:  # L16
    world = World(tmp_path, FakeHost(default=Program(exit_after=5, exit_code=2)))
    await world.start()
    names = ("a", "b", "c", "d", "e", "f")
    containers = tuple(a_container(n, termination_message_path="/words") for n in names)
    await world.assign(a_pod("web", containers=containers, restart_policy="Never"))
    await world.until(lambda: world.phase("web") == "Running")
    for spec in world.host.specs.values():
        Path(next(m.source for m in spec.mounts if m.destination == "/words")).write_text("é" * 2048)
    await world.until(lambda: world.phase("web") == "Failed")
    messages = [s.state.terminated.message for s in world.status("web").container_statuses]
    assert messages == ["é" * 1024] * 6
    await world.kill()


@bent
async def test_an_optional_config_map_may_come_later(tmp_path: Path) -> None:  # E4, V6
    world = World(tmp_path)
    await world.start()
    await world.assign(with_volume("web", "c", optional=True))
    await world.until(lambda: world.phase("web") == "Running")
    assert [p.name for p in world.volume("web", "v").iterdir() if not p.name.startswith("..")] == []
    await world.configure(config_map("c", key="here"))
    await shows(world, "web", "key", "here")
    await world.kill()
