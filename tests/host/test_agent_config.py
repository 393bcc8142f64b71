"""Configuration in containers of a real Podman: ConfigMaps, downwardAPI, projections, subPath, last words (E4 to E6,
V1, V4 to V6, V14, V15, L16)."""

import asyncio
import time
from pathlib import Path

import pytest

from mesh.model.digest import LAST_APPLIED
from mesh.v1.core_pb2 import Pod, SecurityContext, Volume, VolumeMount
from tests.harness.objects import config_map
from tests.harness.podman_node import Node, a_container, a_pod, is_ready
from tests.harness.waiting import wait_for_text

pytestmark = pytest.mark.host


def mount(name: str, path: str, **fields: object) -> VolumeMount:
    return VolumeMount(name=name, mount_path=path, **fields)  # type: ignore[arg-type]


def config_volume(name: str, config: str) -> Volume:
    volume = Volume(name=name)
    volume.config_map.name = config
    return volume


async def test_a_changed_config_map_is_in_running_containers_at_once(node: Node) -> None:  # V1, V4, V5, V6, V14, E4
    everything = Volume(name="all")
    source = everything.projected.sources.add().config_map
    source.name = "settings"
    source.items.add(key="color", path="deep/er/color", mode=0o400)
    everything.projected.sources.add().downward_api.items.add(path="labels").field_ref.field_path = "metadata.labels"
    main = a_container(
        "main",
        volume_mounts=[
            mount("cfg", "/cfg"), mount("all", "/all"), mount("cfg", "/fixed/color", sub_path="color"),
        ],
        security_context=SecurityContext(run_as_user=1000),
    )  # fmt: skip
    main.env_from.add(prefix="P_").config_map_ref.name = "settings"
    pod = a_pod(1, main, volumes=[config_volume("cfg", "settings"), everything])
    pod.metadata.labels["tier"] = "front"
    pod.metadata.annotations[LAST_APPLIED] = "{}"
    pod.spec.security_context.fs_group = 4242
    node.configs = {"settings": config_map("settings", color="blue", gone="soon")}
    await node.running(pod)
    show = "cat /cfg/color /all/deep/er/color /all/labels /fixed/color; echo; echo $P_color; ls /cfg"
    assert await node.said(pod, show) == 'bluebluetier="front"blue\nblue\ncolor\ngone\n'
    kinds = "for v in cfg all; do stat -fc %T /$v; done"
    assert (await node.said(pod, kinds)).split()[1:] == ["tmpfs"]  # V3
    modes = "stat -Lc '%a %g' /cfg/color /all/deep/er/color /cfg; touch /cfg/x 2>/dev/null || echo read-only; id -G"
    assert (await node.said(pod, modes)).split("\n") == [
        "644 4242", "440 4242", "2777 4242", "read-only", "2000 3000 4242", "",
    ]  # fmt: skip
    before = await node.pids()
    node.configs = {"settings": config_map("settings", color="red", new="here")}
    await node.assign(pod)
    file = node.host.config.state_dir / "pods" / pod.metadata.uid / "volumes" / "cfg" / "color"
    await asyncio.to_thread(wait_for_text, file, "red", 50.0)  # some 10 ms; a look at everything would take a minute
    assert await node.said(pod, show) == 'redredtier="front"blue\nblue\ncolor\nnew\n'  # subPath and env stay
    changed = Pod()
    changed.CopyFrom(pod)
    changed.metadata.labels["tier"] = "back"
    await node.assign(changed)
    assert await node.said(changed, "until grep -q back /all/labels; do :; done; cat /all/labels") == 'tier="back"'
    assert await node.pids() == before


async def test_a_pod_waits_for_its_config_map_and_then_starts_by_itself(node: Node) -> None:  # E4, V16
    in_volume = a_pod(2, a_container("main", volume_mounts=[mount("cfg", "/cfg")]), volumes=[config_volume("cfg", "c")])
    in_env = a_container("main")
    in_env.env_from.add().config_map_ref.name = "c"
    with_env = a_pod(3, in_env)
    await node.assign(in_volume, with_env)

    def waiting(pod: Pod) -> tuple[str, str]:
        found = node.heard.get(pod.metadata.uid)
        state = found.status.container_statuses[0].state.waiting if found else None
        return (state.reason, state.message) if state else ("", "")

    await node.until(lambda _: waiting(with_env)[0] == "CreateContainerConfigError")
    assert 'configmap "c" not found' in waiting(with_env)[1]
    await node.until(lambda _: waiting(in_volume)[1] != "")
    assert waiting(in_volume) == ("ContainerCreating", 'FailedMount: volume "cfg": configmap "c" not found')
    node.configs = {"c": config_map("c", key="value")}
    began = time.monotonic()
    await node.running(in_volume, with_env)
    assert time.monotonic() - began < 50  # nor is the next look at everything waited for
    assert await node.said(in_volume, "cat /cfg/key") == "value"
    assert await node.said(with_env, "echo $key") == "value\n"


async def test_a_sub_path_does_not_lead_out_of_its_volume(node: Node, tmp_path: Path) -> None:  # V14
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    volume = Volume(name="v")
    volume.host_path.path = str(tmp_path / "inside")
    (tmp_path / "inside" / "real").mkdir(parents=True)
    (tmp_path / "inside" / "escape").symlink_to(secret)
    (tmp_path / "inside" / "up").symlink_to("../secret")
    (tmp_path / "inside" / "fine").symlink_to("real")
    bad = a_pod(4, a_container("main", volume_mounts=[mount("v", "/v", sub_path="escape")]), volumes=[volume])
    up = a_pod(5, a_container("main", volume_mounts=[mount("v", "/v", sub_path="up")]), volumes=[volume])
    main = a_container("main", volume_mounts=[mount("v", "/v", sub_path="fine"),
                                              mount("v", "/w", sub_path_expr="$(NAME)/made")])  # fmt: skip
    main.env.add(name="NAME").value_from.field_ref.field_path = "metadata.name"
    good = a_pod(6, main, volumes=[volume])
    await node.assign(bad, up, good)
    await node.until(lambda heard: is_ready(heard.get(good.metadata.uid)))
    for pod in (bad, up):
        await node.until(lambda heard, pod=pod: "leads out of the volume" in _message(heard, pod))  # type: ignore[misc]
    await node.said(good, "touch /v/one /w/two")
    await node.assign()
    await node.until(lambda heard: heard[good.metadata.uid].gone)
    assert (tmp_path / "inside" / "real" / "one").exists()  # what a subPath showed outlives its pod
    assert (tmp_path / "inside" / good.metadata.name / "made" / "two").exists()


def _message(heard: dict[str, object], pod: Pod) -> str:
    found = heard.get(pod.metadata.uid)
    return found.status.container_statuses[0].state.waiting.message if found else ""  # type: ignore[attr-defined]


async def test_last_words(node: Node) -> None:  # L16
    fallback = "FallbackToLogsOnError"
    says = a_container("says", command=["sh", "-c", "printf 'all is lost' >/dev/termination-log; exit 3"],
                       termination_message_path="/dev/termination-log")  # fmt: skip
    logs = a_container("logs", command=["sh", "-c", "echo one; echo two; exit 1"],
                       termination_message_path="/tmp/words", termination_message_policy=fallback)  # fmt: skip
    fine = a_container("fine", command=["sh", "-c", "echo one"], termination_message_path="/dev/termination-log",
                       termination_message_policy=fallback)  # fmt: skip
    pod = a_pod(7, says, logs, fine, restart_policy="Never")
    await node.assign(pod)
    await node.until(lambda heard: heard[pod.metadata.uid].status.phase == "Failed" if heard else False)
    status = node.heard[pod.metadata.uid].status
    messages = {s.name: s.state.terminated.message for s in status.container_statuses}
    assert messages == {"says": "all is lost", "logs": "one\ntwo\n", "fine": ""}


async def test_mounts_are_passed_on(node: Node) -> None:  # V15
    volume = Volume(name="v")
    volume.empty_dir.SetInParent()
    maker = a_container("maker", volume_mounts=[mount("v", "/v", mount_propagation="Bidirectional")],
                        security_context=SecurityContext(privileged=True))  # fmt: skip
    taker = a_container("taker", volume_mounts=[mount("v", "/v", mount_propagation="HostToContainer")])
    apart = a_container("apart", volume_mounts=[mount("v", "/v")])
    pod = a_pod(8, maker, taker, apart, volumes=[volume])
    await node.running(pod)
    assert await node.said(pod, "mkdir /v/m && mount -t tmpfs none /v/m && touch /v/m/x && echo done") == "done\n"
    assert await node.said(pod, "ls /v/m", container="taker") == "x\n"
    assert await node.said(pod, "ls /v/m", container="apart") == ""
    await node.assign()
    await node.until(lambda heard: heard[pod.metadata.uid].gone)
    assert not (node.host.config.state_dir / "pods" / pod.metadata.uid).exists()
