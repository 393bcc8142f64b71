"""The tasks of Kubernetes' documentation (examples/tasks) on a real Podman, all at once, and their documented outcome.

Rule: one host for the whole module; what a test changes concerns its own pod alone.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health, health_pb2_grpc

from mesh.admission.admit import Stamp, create
from mesh.model.manifest import load
from mesh.scheduler.pipeline import place
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import ConfigMap, ContainerStatus, Pod, PodStatus
from mesh.v1.core_pb2 import Node as NodeObject
from mesh.view import View
from nodeagent.runtime import cgroups
from tests.harness import objects
from tests.harness.podman import PodmanHost, import_image, podman_host
from tests.harness.podman_node import DEADLINE, Node, is_ready
from tests.harness.waiting import wait_for_text

pytestmark = [pytest.mark.host, pytest.mark.asyncio(loop_scope="module")]

TASKS = Path(__file__).parent.parent.parent / "examples" / "tasks"
TOO_BIG = ("memory-demo-3", "cpu-demo-2")  # no host takes them: the scheduler says so
FINAL = ("Succeeded", "Failed")


class Tasks:
    """The one host with every task's pod on it."""

    def __init__(self, node: Node, pods: dict[str, Pod]) -> None:
        self.node = node
        self.pods = pods

    def status(self, name: str) -> PodStatus:
        report = self.node.heard.get(self.pods[name].metadata.uid)
        return report.status if report else PodStatus()

    def container(self, name: str, container: str = "") -> ContainerStatus:
        every = [*self.status(name).container_statuses, *self.status(name).init_container_statuses]
        return next((s for s in every if container in ("", s.name)), ContainerStatus())

    async def until_ready(self, *names: str) -> None:
        uids = [self.pods[n].metadata.uid for n in names]
        await self.node.until(lambda heard: all(is_ready(heard.get(u)) for u in uids))

    async def until_final(self, *names: str) -> None:
        await self.node.until(lambda _: all(self.status(n).phase in FINAL for n in names))

    async def said(self, name: str, script: str, container: str = "") -> str:
        return await self.node.said(self.pods[name], script, container)

    def path(self, name: str, container: str = "main") -> Path:
        """The log of a container's first attempt."""
        pod = f"default_{name}_{self.pods[name].metadata.uid}"
        return self.node.host.config.log_dir / pod / container / "0.log"

    def log(self, name: str, container: str = "main") -> list[str]:
        """Its lines, without times and streams."""
        return [line.split(" ", 3)[3] for line in self.path(name, container).read_text().splitlines()]

    def messages(self, name: str) -> set[str]:
        uid = self.pods[name].metadata.uid
        return {e.message for e in self.node.events if e.involved_object.uid == uid}


@pytest.fixture(scope="module")
def host() -> Iterator[PodmanHost]:
    with podman_host() as made:
        import_image(made, "localhost/mesh-hello:1")
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tasks(host: PodmanHost) -> AsyncIterator[Tasks]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    node, view = Node(host), View(Snapshot(1, [objects.namespace("default")]))
    pods: dict[str, Pod] = {}
    for file in sorted(TASKS.glob("*.yaml")):
        text = file.read_text().replace("port: 50051", f"port: {port}")
        for item in load(text, file.name, default_namespace="default").items:
            if isinstance(item.object, Pod):  # this host has no certificate, so it is given no token
                item.object.spec.automount_service_account_token = False
            uid = f"00000000-0000-4000-9000-{len(pods):012d}"
            made = create(item.object, view, Stamp(1, uid, "abcde")).object
            if isinstance(made, ConfigMap):
                node.configs[made.metadata.name] = made
            elif isinstance(made, Pod):
                made.spec.node_name = host.config.node_name
                pods[made.metadata.name] = made
    await node.start()
    await node.assign(*(p for name, p in pods.items() if name not in TOO_BIG))
    yield Tasks(node, pods)
    await node.assign()
    async with asyncio.timeout(DEADLINE):
        await node.agent.emptied()
    await node.kill()
    await server.stop(0)


# ---- processes


async def test_shared_processes(tasks: Tasks) -> None:
    await tasks.until_ready("shared-processes")
    listed = await tasks.said("shared-processes", "ps", "shell")
    assert "    1 root     sleep infinity\n" in listed
    pid = next(line.split()[0] for line in listed.splitlines() if "trap" in line)
    read = f"until cat /proc/{pid}/root/tmp/server.conf; do :; done; kill -HUP {pid}"
    assert await tasks.said("shared-processes", read, "shell") == "conf\n"
    await asyncio.to_thread(wait_for_text, tasks.path("shared-processes", "server"), "reloaded", DEADLINE)


# ---- probes


async def test_liveness(tasks: Tasks) -> None:
    await tasks.node.until(lambda _: tasks.container("liveness-exec").restart_count >= 1)
    assert "Liveness probe failed: cat: can't open '/tmp/healthy': No such file or directory\n" in tasks.messages(
        "liveness-exec"
    )
    assert "Container main failed liveness probe, will be restarted" in tasks.messages("liveness-exec")
    await tasks.node.until(lambda _: tasks.container("liveness-http").restart_count >= 1)
    assert "Liveness probe failed: HTTP probe failed with statuscode: 500" in tasks.messages("liveness-http")
    assert tasks.container("tcp").restart_count == tasks.container("grpc").restart_count == 0
    await tasks.until_ready("tcp", "grpc")


async def test_readiness(tasks: Tasks) -> None:
    failed = "Readiness probe failed: HTTP probe failed with statuscode: 500"
    await tasks.node.until(lambda _: failed in tasks.messages("readiness-http"))
    await tasks.node.until(lambda _: not tasks.container("readiness-http").ready)
    assert tasks.status("readiness-http").phase == "Running"
    assert tasks.container("readiness-http").restart_count == 0
    ready = {c.type: (c.status, c.reason) for c in tasks.status("readiness-http").conditions}
    assert ready["Ready"] == ready["ContainersReady"] == ("False", "ContainersNotReady")
    await tasks.said("readiness-http", "touch /tmp/ready")
    await tasks.until_ready("readiness-http")


async def test_a_probe_on_another_port(tasks: Tasks) -> None:
    await tasks.until_ready("another-port")
    await tasks.said("another-port", "rm /tmp/www/healthz", "health")
    await tasks.node.until(lambda _: not tasks.container("another-port", "application").ready)
    assert await tasks.said("another-port", "wget -qO- http://127.0.0.1:8080/") == "well\n"
    assert tasks.container("another-port", "application").restart_count == 0


async def test_startup(tasks: Tasks) -> None:
    await tasks.until_ready("slow-start")
    assert tasks.container("slow-start").restart_count == 0
    await tasks.until_final("never-starts")
    assert tasks.status("never-starts").phase == "Failed"
    assert "Container main failed startup probe" in tasks.messages("never-starts")


# ---- lifecycle


async def test_hooks(tasks: Tasks) -> None:
    await tasks.until_ready("lifecycle")
    assert await tasks.said("lifecycle", "cat /tmp/message") == "Hello from the postStart handler\n"
    pod = tasks.pods["lifecycle"]
    with tasks.path("lifecycle").open() as log:  # it goes with the pod
        await tasks.node.assign(*(p for p in tasks.node.pods.values() if p is not pod))
        await tasks.node.until(lambda heard: heard[pod.metadata.uid].gone)
        said = [line.split(" ", 3)[3] for line in log.read().splitlines()]
    assert said == ["goodbye from preStop", "terminated"]


async def test_last_words(tasks: Tasks) -> None:
    told = {
        "last-words": "Sleep expired\n", "last-words-elsewhere": "from my own file",
        "last-words-from-logs": "something went wrong\n",
    }  # fmt: skip
    await tasks.until_final(*told)
    assert {name: tasks.container(name).state.terminated.message for name in told} == told
    ended = tasks.container("last-words-from-logs").state.terminated
    assert (ended.exit_code, ended.reason) == (3, "Error")


# ---- init containers, sidecars


async def test_init_containers(tasks: Tasks) -> None:
    await tasks.until_ready("init-demo")
    assert await tasks.said("init-demo", "wget -qO- http://127.0.0.1:8080/") == "<h1>made by init</h1>\n"
    await tasks.node.until(lambda _: tasks.container("myapp", "init-myservice").started)
    assert tasks.status("myapp").phase == "Pending"
    assert tasks.container("myapp", "init-mydb").state.waiting.reason == "PodInitializing"
    assert tasks.container("myapp", "main").state.waiting.reason == "PodInitializing"
    await tasks.said("myapp", "touch /tmp/myservice", "init-myservice")
    await tasks.node.until(lambda _: tasks.container("myapp", "init-mydb").started)
    assert tasks.container("myapp", "init-myservice").state.terminated.reason == "Completed"
    await tasks.said("myapp", "touch /tmp/mydb", "init-mydb")
    await tasks.until_ready("myapp")
    await asyncio.to_thread(wait_for_text, tasks.path("myapp"), "The app is running!", DEADLINE)


async def test_init_containers_that_fail(tasks: Tasks) -> None:
    await tasks.until_final("init-fails")
    assert tasks.status("init-fails").phase == "Failed"
    assert tasks.container("init-fails", "main").state.waiting.reason == "PodInitializing"
    await tasks.node.until(
        lambda _: tasks.container("init-crashes", "broken").state.waiting.reason == "CrashLoopBackOff"
    )
    assert tasks.status("init-crashes").phase == "Pending"
    broken = tasks.container("init-crashes", "broken")
    assert (broken.last_state.terminated.exit_code, broken.restart_count > 0) == (4, True)


async def test_sidecars(tasks: Tasks) -> None:
    await tasks.until_ready("log-shipper")
    assert tasks.container("log-shipper", "logshipper").ready
    assert tasks.container("log-shipper", "myapp").restart_count == 0  # its log was there
    await tasks.until_final("work-with-sidecar")
    assert tasks.status("work-with-sidecar").phase == "Succeeded"
    assert tasks.log("work-with-sidecar", "work") == ["done"]
    log = tasks.path("log-shipper", "logshipper")
    await asyncio.to_thread(wait_for_text, log, " logging\n", DEADLINE)


# ---- configuration


async def test_config_in_the_environment(tasks: Tasks) -> None:
    await tasks.until_final("config-env")
    assert tasks.log("config-env") == ["very charm very charm"]


async def test_config_in_files(tasks: Tasks) -> None:
    await tasks.until_ready("config-files")
    look = "cd /etc; ls config maybe; cat config/ui.properties; echo; cat keys/deep/level; echo; cat ui; echo; echo $UI"
    assert (await tasks.said("config-files", look)).split("\n")[:4] == [
        "config:", "game.properties", "ui.properties", "",
    ]  # fmt: skip
    assert (await tasks.said("config-files", f"{look} | tail -n 4")).split() [-4:]== [
        "color.good=purple", "very", "color.good=purple", "color.good=purple",
    ]  # fmt: skip
    assert await tasks.said("config-files", "stat -Lc %a /etc/keys/deep/level") == "400\n"
    changed = ConfigMap()
    changed.CopyFrom(tasks.node.configs["game-config"])
    changed.data["ui.properties"] = "color.good=green"
    tasks.node.configs["game-config"] = changed
    await tasks.node.assign(*tasks.node.pods.values())
    wait = "until grep -q green /etc/config/ui.properties; do :; done; cat /etc/ui; echo; echo $UI"
    assert await tasks.said("config-files", wait) == "color.good=purple\ncolor.good=purple\n"


async def test_config_that_is_missing(tasks: Tasks) -> None:
    await tasks.node.until(
        lambda _: tasks.container("config-missing").state.waiting.reason == "CreateContainerConfigError"
    )
    assert 'configmap "comes-later" not found' in tasks.container("config-missing").state.waiting.message
    tasks.node.configs["comes-later"] = objects.config_map("comes-later", A="1")
    await tasks.node.assign(*tasks.node.pods.values())
    await tasks.until_ready("config-missing")


async def test_projected(tasks: Tasks) -> None:
    await tasks.until_ready("projected")
    assert await tasks.said(
        "projected", "cd /projected-volume; cat labels; echo; cat cpu_limit my-group/my-config"
    ) == ('cluster="test-cluster1"\nzone="us-est-coast"\n250from a ConfigMap')
    modes = await tasks.said("projected", "cd /projected-volume; stat -Lc %a labels my-group/my-config")
    assert modes == "440\n777\n"


async def test_downward(tasks: Tasks) -> None:
    await tasks.until_final("downward-env", "downward-resources")
    node, ip = tasks.node.host.config.node_name, tasks.status("downward-env").pod_ip
    assert tasks.log("downward-env") == [f"{node} downward-env default {ip} default"]
    assert tasks.log("downward-resources") == ["1 1 33554432 67108864"]
    await tasks.until_ready("downward-files")
    assert await tasks.said("downward-files", "cd /etc/podinfo; cat labels; echo; cat annotations; echo; ls") == (
        'rack="rack-22"\nzone="us-est-coast"\nbuild="two"\nbuilder="john-doe"\n'
        "annotations\ncpu_limit\nlabels\nmem_request\n"
    )
    assert await tasks.said("downward-files", "cd /etc/podinfo; cat cpu_limit; echo; cat mem_request") == "25\n32"


# ---- who a container is


async def test_security_contexts(tasks: Tasks) -> None:
    await tasks.until_ready("security-pod", "security-container", "security-capabilities")
    assert await tasks.said("security-pod", "id -u; id -g; id -G") == "1000\n3000\n3000 2000 4000\n"
    assert await tasks.said("security-pod", "cd /data/demo; echo hello >f; stat -c '%u %g' f") == "1000 2000\n"
    assert "1" in await tasks.said("security-pod", "grep NoNewPrivs /proc/1/status")
    assert (await tasks.said("security-container", "id -u")).strip() == "2000"
    bits = [
        int((await tasks.said("security-capabilities", "grep CapPrm /proc/1/status", c)).split()[1], 16)
        for c in ("usual", "more")
    ]
    assert bits[1] & ~bits[0] == 1 << 12 | 1 << 25
    await tasks.node.until(
        lambda _: tasks.container("security-no-root").state.waiting.reason == "CreateContainerConfigError"
    )
    why = tasks.container("security-no-root").state.waiting.message
    assert "container has runAsNonRoot and image will run as root" in why


# ---- resources


async def test_memory(tasks: Tasks) -> None:
    await tasks.until_final("memory-demo")
    assert tasks.status("memory-demo").phase == "Succeeded"
    await tasks.node.until(lambda _: tasks.container("memory-demo-2").state.waiting.reason == "CrashLoopBackOff")
    ended = tasks.container("memory-demo-2").last_state.terminated
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)
    assert tasks.container("memory-demo-2").restart_count >= 1


async def test_cpu(tasks: Tasks) -> None:
    await tasks.until_ready("cpu-demo")
    pod = f"mesh/burstable/pod{tasks.pods['cpu-demo'].metadata.uid}"
    found = [f for h in cgroups.hierarchies() for f in (h / pod).glob("libpod-*/cpu.stat")]
    throttled = re.findall(r"nr_throttled (\d+)", "".join(f.read_text() for f in found))
    assert max(map(int, throttled)) > 0
    assert tasks.container("cpu-demo").restart_count == 0


async def test_what_no_host_has(tasks: Tasks) -> None:
    await tasks.node.until(lambda _: bool(tasks.node.report.status.allocatable))
    node = NodeObject(status=tasks.node.report.status)
    node.metadata.name, node.spec.pod_cidr = tasks.node.host.config.node_name, tasks.node.host.pod_cidr
    pending = []
    for name in TOO_BIG:
        pod = Pod()
        pod.CopyFrom(tasks.pods[name])
        pod.spec.node_name = ""
        pending.append(pod)
    view = View(Snapshot(1, [objects.namespace("default"), node, *pending]))
    assert {p.pod.metadata.name: p.why_not for p in place(view)} == {
        "memory-demo-3": "0/1 nodes are available: 1 Insufficient memory.",
        "cpu-demo-2": "0/1 nodes are available: 1 Insufficient cpu.",
    }


async def test_qos(tasks: Tasks) -> None:
    names = ["qos-demo", "qos-demo-2", "qos-demo-3", "qos-demo-4"]
    await tasks.until_ready(*names)
    classes = ["Guaranteed", "Burstable", "BestEffort", "Burstable"]
    assert [tasks.status(n).qos_class for n in names] == classes
