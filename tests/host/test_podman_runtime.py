"""What the runtime promises of a real Podman beyond the contract: namespaces, limits, identity, crashes, traces."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from nodeagent.runtime import cgroups
from nodeagent.runtime.netns import socket_in
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import Credentials, Limits, Mount, RuntimeFailure, SandboxSpec, Security
from nodeagent.runtime.seen import State
from tests.harness.podman import root_file_system
from tests.harness.podman_runtime import DEADLINE, FOREVER, Agent
from tests.harness.registry import registry
from tests.harness.waiting import wait_for_text

pytestmark = pytest.mark.host


async def test_containers_of_a_pod_share_network_ipc_uts_and_memory(agent: Agent) -> None:
    sandbox = await agent.sandbox()
    one = await agent.run(FOREVER, sandbox, name="one")
    two = await agent.run(FOREVER, sandbox, name="two")
    for kind in ("net", "ipc", "uts"):
        assert await agent.exec(one, "readlink", f"/proc/self/ns/{kind}") == await agent.exec(
            two, "readlink", f"/proc/self/ns/{kind}"
        )
    for kind in ("pid", "mnt"):
        assert await agent.exec(one, "readlink", f"/proc/1/ns/{kind}") != await agent.exec(
            two, "readlink", f"/proc/1/ns/{kind}"
        )
    assert await agent.exec(one, "hostname") == "web\n"
    await agent.exec(one, "sh", "-c", "echo shared > /dev/shm/word")
    assert await agent.exec(two, "cat", "/dev/shm/word") == "shared\n"
    assert "65536" in await agent.exec(two, "df", "-k", "/dev/shm")


async def test_processes_are_shared_when_asked(agent: Agent) -> None:  # E12
    sandbox = await agent.sandbox(share_processes=True)
    one = await agent.run(["sh", "-c", "sleep 12345 & wait"], sandbox, name="one")
    two = await agent.run(FOREVER, sandbox, name="two")
    assert "sleep 12345" in await agent.exec(two, "ps")
    assert (await agent.exec(two, "cat", "/proc/1/cmdline")).split("\0")[:2] == ["sleep", "infinity"]
    assert await agent.exec(one, "readlink", "/proc/self/ns/pid") == await agent.exec(
        two, "readlink", "/proc/self/ns/pid"
    )
    await agent.exec(two, "sh", "-c", "(sleep 0.01 &)")  # whose parent is gone when it ends
    assert await agent.exec(two, "sh", "-c", "while ps -o stat | grep Z; do :; done; echo buried") == "buried\n"


async def test_with_the_first_process_the_whole_sandbox_is_lost(agent: Agent) -> None:  # E12
    sandbox = await agent.sandbox(share_processes=True)
    one = await agent.run(FOREVER, sandbox, name="one")
    uid = sandbox.pod_uid
    first = int((agent.host.config.run_dir / "netns" / f"{uid}.init").read_text())
    os.kill(first, signal.SIGTERM)  # from nobody but a KILL
    pod = await agent.runtime.pod(uid)
    assert pod
    assert pod.sandbox
    assert not pod.sandbox.lost
    os.kill(first, signal.SIGKILL)
    assert (await agent.ended(one)).exit_code == 137
    again = PodmanRuntime(agent.host.config)  # an agent that was away
    found = [(await agent.runtime.pods())[uid].sandbox, (await again.pods())[uid].sandbox]
    assert [s and s.lost for s in found] == [True, True]
    await again.close()
    await agent.runtime.remove(one.id)
    await agent.runtime.remove_sandbox(uid)
    made = await agent.runtime.make_sandbox(SandboxSpec(uid, "default", "pod", "web", share_processes=True))
    assert not made.lost
    two = await agent.run(FOREVER, made, name="two")
    assert two.state is State.RUNNING


async def test_pods_reach_each_other_and_the_host_reaches_them(agent: Agent) -> None:
    server = await agent.sandbox()
    listening = await agent.run(["sh", "-c", "echo up; nc -ll -p 8080 -e echo hello"], server)
    await asyncio.to_thread(wait_for_text, Path(listening.log_path), "up", DEADLINE)
    client = await agent.run(FOREVER)
    ask = f"until nc {server.ip} 8080 </dev/null; do :; done"
    assert await agent.exec(client, "sh", "-c", ask) == "hello\n"

    def from_inside(address: str) -> bytes:
        with socket_in(server.netns, (address, 8080), 5.0) as opened:
            return opened.recv(100)

    assert await asyncio.to_thread(from_inside, "127.0.0.1") == b"hello\n"
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(socket_in, server.netns, ("127.0.0.1", 9), 5.0)


async def test_what_leaves_the_cluster_comes_from_the_host(agent: Agent) -> None:
    """A network beyond the host that knows no way back to pods: only masqueraded traffic gets an answer."""
    name, link = f"mt-out-{os.getpid()}", f"mto{os.getpid()}"
    number = os.getpid() % 16384 * 4  # another run of these tests on this machine has another
    net = f"10.198.{number >> 8}."
    ours, theirs = f"{net}{(number & 255) + 1}", f"{net}{(number & 255) + 2}"
    setup = f"""
        ip netns add {name}
        ip link add {link} type veth peer name eth0 netns {name}
        ip addr add {ours}/30 dev {link}
        ip link set {link} up
        ip -n {name} addr add {theirs}/30 dev eth0
        ip -n {name} link set eth0 up
    """
    for line in setup.strip().splitlines():
        await asyncio.to_thread(subprocess.run, line.split(), check=True)
    command = [
        "nsenter",
        f"--net=/run/netns/{name}",
        "busybox",
        "nc",
        "-ll",
        "-p",
        "9000",
        "-e",
        "/bin/echo",
        "outside",
    ]
    server = await asyncio.to_thread(subprocess.Popen, command)
    try:
        client = await agent.run(FOREVER)
        ask = f"until nc {theirs} 9000 </dev/null; do :; done"
        assert await agent.exec(client, "sh", "-c", ask) == "outside\n"
    finally:
        server.kill()
        await asyncio.to_thread(server.wait)
        await asyncio.to_thread(subprocess.run, ["ip", "netns", "del", name], check=True)


async def test_limits_hold(agent: Agent) -> None:
    limits = Limits(cpu_shares=512, cpu_quota=20_000, memory=64 << 20, pids=20, oom_score_adj=500)
    container = await agent.run(FOREVER, limits=limits)
    assert await agent.exec(container, "cat", "/proc/1/oom_score_adj") == "500\n"
    path = Path(f"/proc/{container.pid}/cgroup").read_text()
    assert f"/mesh/pod{container.pod_uid}/libpod-{container.id}" in path
    if cgroups.version() == 1:
        own = f"mesh/pod{container.pod_uid}/libpod-{container.id}"
        read = {name: (cgroups.ROOT / name.split(".")[0] / own / name).read_text().strip() for name in (
            "memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.shares", "pids.max")}  # fmt: skip
        assert list(read.values()) == [str(64 << 20), "20000", "512", "20"]


async def test_a_guaranteed_pod_starts_where_scores_cannot_be_lowered(agent: Agent) -> None:
    container = await agent.run(FOREVER, limits=Limits(oom_score_adj=-997))
    assert int(await agent.exec(container, "cat", "/proc/1/oom_score_adj")) <= 0


async def test_exec_runs_as_the_container_runs(agent: Agent) -> None:
    security = Security(user="1000:2000", groups=(3000,), cap_drop=("ALL",), no_new_privileges=True)
    container = await agent.run(
        FOREVER, security=security, env={"A": "one", "ODD": "a b'c\"\n"}, working_dir="/made/for/you"
    )
    script = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/%s/status; cat /proc/%s/cgroup"
    own, exec_ = [await agent.exec(container, "sh", "-c", script % (pid, pid)) for pid in ("1", "self")]
    assert own == exec_
    assert "1000\t1000" in own
    assert "3000" in own
    assert "CapEff:\t0000000000000000" in own
    assert await agent.exec(container, "pwd") == "/made/for/you\n"
    environment = await agent.exec(container, "sh", "-c", "tr '\\0' '\\n' </proc/1/environ | sort; echo; env | sort")
    first, second = environment.split("\n\n")
    ours = [line for line in first.splitlines() if line.split("=")[0] in ("A", "ODD", "FROM_IMAGE", "PATH")]
    assert "A=one" in ours
    assert "FROM_IMAGE=yes" in ours
    assert [line for line in ours if line not in second.splitlines()] == []
    assert await agent.exec(container, "echo", "-n", "--", "-x") == "-- -x"


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"command": ["/bin/nope"]}, 'exec: "/bin/nope": no such file or directory'),
        ({"command": ["/bin"]}, "directory|permission denied"),
        ({"command": ["/etc/passwd"]}, "not executable|permission denied"),
        ({"security": Security(user="bob")}, "unable to find user bob"),
        ({"security": Security(cap_add=("FLY",))}, 'CAP_FLY": unknown capability'),
        ({"mounts": [Mount("/c", "/no/such/path")]}, "statfs /no/such/path: no such file or directory on this host"),
        ({"image_id": "localhost/gone:1"}, "localhost/gone:1: image not known"),
        ({"limits": Limits(memory=4096)}, "memory"),
    ],
)
async def test_what_cannot_be_made_or_started_is_said_in_words(
    agent: Agent, kwargs: dict[str, object], words: str
) -> None:
    with pytest.raises(RuntimeFailure, match=f"(?i)^cannot (create|start) container main: .*{words}") as failure:
        await agent.run(**{"command": FOREVER, **kwargs})
    assert failure.value.reason in ("CreateContainerError", "RunContainerError")
    assert not failure.value.transient
    assert "OCI" not in failure.value.message
    assert str(agent.host.config.root) not in failure.value.message


async def test_output_is_a_cri_log_that_outlives_the_container(agent: Agent) -> None:
    container = await agent.run(["sh", "-c", "echo out; echo err >&2; printf part"])
    await agent.ended(container)
    await agent.runtime.remove(container.id)
    path = Path(container.log_path)
    assert path == agent.host.config.log_dir / f"default_pod_{container.pod_uid}" / "main" / "0.log"
    lines = [line.split(" ", 3) for line in path.read_text().splitlines()]
    assert sorted(line[1:] for line in lines) == [
        ["stderr", "F", "err"],
        ["stdout", "F", "out"],
        ["stdout", "P", "part"],
    ] or sorted(line[1:] for line in lines)[:2] == [["stderr", "F", "err"], ["stdout", "F", "out"]]
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_images_are_pulled_with_and_without_a_password(agent: Agent) -> None:
    with registry(root_file_system()) as served:
        image = await agent.runtime.pull(f"{served.address}/hello:1")
        assert f"{served.address}/hello:1" in image.names
        assert image.user == "1000"
        assert await agent.runtime.image(f"{served.address}/hello:1") == image

        with pytest.raises(RuntimeFailure, match=r"unauthorized|authentication required") as failure:
            await agent.runtime.pull(f"{served.address}/private:1")
        assert failure.value.reason == "ErrImagePull"
        with pytest.raises(RuntimeFailure):
            await agent.runtime.pull(f"{served.address}/private:1", Credentials("ada", "wrong"))
        assert await agent.runtime.pull(f"{served.address}/private:1", Credentials(served.user, served.password))

        with pytest.raises(RuntimeFailure, match="manifest unknown") as failure:
            await agent.runtime.pull(f"{served.address}/hello:2")
        assert failure.value.message.startswith(f"cannot pull image {served.address}/hello:2: ")


async def test_a_pods_cgroup_is_given_its_shares(agent: Agent) -> None:  # R7
    sandbox = await agent.sandbox()
    group = f"/mesh/burstable/pod{sandbox.pod_uid}"
    await agent.run(FOREVER, sandbox, name="one", cgroup_parent=group)
    await agent.runtime.weigh({group: 512})
    unified = cgroups.version() == 2
    file = cgroups.ROOT / ("" if unified else "cpu") / group.lstrip("/") / ("cpu.weight" if unified else "cpu.shares")
    assert file.read_text() == ("20\n" if unified else "512\n")
