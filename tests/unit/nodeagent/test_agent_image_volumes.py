"""Volumes that are images: pulled as images of containers are, kept while they are shown (I1, I2, I7)."""

from pathlib import Path

from mesh.model import poddefaults
from mesh.v1.core_pb2 import Pod
from nodeagent.imagegc import images_of
from nodeagent.runtime.port import Image, RuntimeFailure
from tests.harness.agents import a_pod
from tests.harness.bent_time import bent
from tests.harness.recorder import verbs, world_of

MODEL = Image("sha256:" + "a" * 64, ("registry.test/model:1",), 5000)


def with_model(name: str = "web", policy: str = "IfNotPresent", reference: str = "registry.test/model:1") -> Pod:
    pod = a_pod(name)
    volume = pod.spec.volumes.add(name="model")
    volume.image.reference, volume.image.pull_policy = reference, policy
    pod.spec.containers[0].volume_mounts.add(name="model", mount_path="/model")
    return pod


@bent
async def test_pulled_mounted_and_gone_with_the_pod(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.host.registry["registry.test/model:1"] = MODEL
    agent = await world.start()
    await world.assign(with_model())
    await world.until(lambda: world.phase("web") == "Running")
    place = world.volume("web", "model")
    assert world.host.mounts == {place: MODEL.id}
    order = verbs(world)
    assert order.index("mount_image " + str(place)) < order.index("create main")
    (mount,) = [m for m in next(iter(world.host.specs.values())).mounts if m.destination == "/model"]
    assert (mount.source, mount.read_only) == (str(place), True)
    assert world.event("web", "Pulling").involved_object.field_path == "spec.volumes{model}"
    world.host.local_images["registry.test/model:1"] = world.host.add_image("other")  # the name moves on
    assert MODEL.id in await agent._images_in_use()
    await world.remove("web")
    await world.until(lambda: world.gone("web"))
    assert not place.exists()
    assert MODEL.id not in await agent._images_in_use()
    await world.kill()


@bent
async def test_a_pull_that_fails_is_told_as_a_containers(tmp_path: Path) -> None:  # S4
    world = world_of(tmp_path)
    world.host.registry["registry.test/model:1"] = RuntimeFailure("ErrImagePull", "unauthorized")
    await world.start()
    await world.assign(with_model())
    await world.until(lambda: world.waiting("web") == "ErrImagePull")
    await world.until(lambda: world.waiting("web") == "ImagePullBackOff")
    assert "unauthorized" in world.status("web").container_statuses[0].state.waiting.message
    assert not [call for call in world.host.calls if call[0] in ("mount_image", "create")]
    world.host.registry["registry.test/model:1"] = MODEL
    await world.until(lambda: world.phase("web") == "Running", 41)
    assert world.waiting("web") == ""
    await world.kill()


@bent
async def test_the_policies(tmp_path: Path) -> None:  # I1
    world = world_of(tmp_path, any_image=False)
    world.host.add_image("example:1")
    world.host.add_image("registry.test/model:1")
    world.host.registry["registry.test/model:1"] = MODEL
    await world.start()
    own = with_model("own", "Always", "localhost/model:1")
    await world.assign(with_model("kept"), with_model("always", "Always"), with_model("never", "Never", "no:1"), own)
    await world.until(lambda: world.phase("always") == world.phase("kept") == "Running")
    await world.until(lambda: world.waiting("never") == world.waiting("own") == "ErrImageNeverPull")
    assert [call[1] for call in world.host.calls if call[0] == "pull"] == ["registry.test/model:1"]
    assert world.host.mounts[world.volume("always", "model")] == MODEL.id
    await world.kill()


@bent
async def test_a_restarted_agent_leaves_it(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(with_model())
    await world.until(lambda: world.phase("web") == "Running")
    before = dict(world.host.mounts)
    await world.restart()
    await world.until(lambda: world.phase("web") == "Running")
    assert world.host.mounts == before
    assert len([call for call in world.host.calls if call[0] == "mount_image"]) == 1
    await world.kill()


@bent
async def test_an_image_that_went_before_it_was_mounted_is_looked_for_again(tmp_path: Path) -> None:
    world = world_of(tmp_path, sandbox_seconds=2)
    world.host.registry["registry.test/model:1"] = MODEL
    await world.start()
    await world.assign(with_model())
    await world.until(lambda: MODEL.id in world.host.local_images)
    world.host.local_images.clear()
    await world.until(lambda: world.phase("web") == "Running", 30)
    assert [call[1] for call in world.host.calls if call[0] == "pull"] == ["registry.test/model:1"] * 2
    assert f'volume "model": cannot mount image {MODEL.id}' in world.event("web", "FailedMount").message
    await world.kill()


def test_the_tag_decides_where_no_policy_is_given() -> None:  # I1
    for reference, policy in (("a.test/b", "Always"), ("a.test/b:latest", "Always"), ("a.test/b:1", "IfNotPresent")):
        spec = with_model(policy="", reference=reference).spec
        poddefaults.fill(spec)
        assert spec.volumes[0].image.pull_policy == policy


def test_what_a_pod_will_show_is_in_use() -> None:  # I5
    assert images_of([with_model()]) == {"example:1", "registry.test/model:1"}
