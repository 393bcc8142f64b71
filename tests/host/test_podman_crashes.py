"""What the runtime promises when programs die around it, and what traces it leaves: nothing is missed or left."""

import asyncio
import os
import random
import select
import subprocess
from pathlib import Path

import pytest

from nodeagent.runtime import cgroups
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import Limits, Mount, RuntimeFailure
from nodeagent.runtime.seen import State
from tests.harness.podman_runtime import DEADLINE, FOREVER, Agent, spec

pytestmark = pytest.mark.host


async def test_a_kill_for_memory_is_known_to_an_agent_that_was_away(agent: Agent) -> None:
    limits = Limits(memory=32 << 20)
    container = await agent.run(["sh", "-c", "cat /pipe; tail /dev/zero"], limits=limits, mounts=[pipe(agent)])
    await agent.runtime.close()
    release(agent)
    assert await asyncio.to_thread(agent.host.podman, "wait", container.id) == "137\n"
    agent.runtime = PodmanRuntime(agent.host.config)
    seen = (await agent.runtime.pods())[container.pod_uid].containers[0]
    assert (seen.state, seen.exit_code, seen.oom_killed) == (State.EXITED, 137, True)


def pipe(agent: Agent) -> Mount:
    """A FIFO that a container reads until `release`."""
    path = agent.host.config.root / "pipe"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return Mount("/pipe", str(path))


def release(agent: Agent) -> None:
    (agent.host.config.root / "pipe").write_text("go\n")


async def test_an_exit_while_podmans_service_is_away_is_not_missed(agent: Agent) -> None:
    container = await agent.run(["sh", "-c", "cat /pipe; exit 4"], mounts=[pipe(agent)])
    agent.host.kill()
    release(agent)
    assert (await agent.ended(container)).exit_code == 4
    agent.host.start()
    seen = (await agent.runtime.pods())[container.pod_uid].containers[0]
    assert (seen.state, seen.exit_code) == (State.EXITED, 4)


async def test_a_container_whose_monitor_was_killed_is_lost_when_it_ends(agent: Agent) -> None:
    container = await agent.run(FOREVER)
    parent = int(Path(f"/proc/{container.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    assert Path(f"/proc/{parent}/comm").read_text().strip() == "conmon"
    os.kill(parent, 9)
    assert (await agent.see(container.pod_uid, container.id)).state is State.RUNNING
    await agent.runtime.kill(container.id, "KILL")
    assert (await agent.ended(container)).state is State.LOST
    second = PodmanRuntime(agent.host.config)
    assert (await second.pods())[container.pod_uid].containers[0].id == container.id
    await second.close()
    await agent.runtime.remove(container.id)
    pod = await agent.runtime.pod(container.pod_uid)
    assert pod
    assert pod.containers == ()


async def test_kill_of_the_service_in_the_middle_leaves_nothing_half_made(agent: Agent) -> None:
    chance = random.Random(7)
    for _ in range(4):
        sandboxes = [await agent.sandbox() for _ in range(6)]
        pods = [asyncio.create_task(drive(agent, sandbox.pod_uid)) for sandbox in sandboxes]
        before = len(agent.pokes)
        await asyncio.to_thread(select.select, [], [], [], chance.uniform(0.01, 0.15))  # each time in another call
        await asyncio.to_thread(agent.host.restart)
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*pods)
        assert "" in agent.pokes[before:]
        for pod in (await agent.runtime.pods()).values():
            assert [c.state for c in pod.containers] == [State.RUNNING]
        await agent.clear()
    listed = await asyncio.to_thread(agent.host.podman, "ps", "--all", "--quiet")
    assert listed == ""


async def drive(agent: Agent, uid: str) -> None:
    """Look, one step, look again: as the agent's worker does, until the pod runs."""
    with agent.poke() as poked:
        while True:
            poked.clear()
            try:
                pod = await agent.runtime.pod(uid)
                container = pod.latest("main") if pod else None
                if container is None or container.state is State.LOST:
                    await agent.runtime.create(spec(uid, FOREVER))
                elif container.state is State.CREATED:
                    await agent.runtime.start(container.id)
                else:
                    return
            except RuntimeFailure as failure:
                if failure.reason == "RuntimeUnavailable":
                    await poked.wait()


async def test_a_secret_in_the_environment_reaches_no_disk(agent: Agent) -> None:
    secret = f"s3cret-{random.random()}"
    container = await agent.run(FOREVER, env={"PASSWORD": secret})
    await agent.exec(container, "true")
    root = agent.host.config.root
    found = await asyncio.to_thread(
        subprocess.run, ["grep", "-rlaF", secret, root], capture_output=True, text=True, check=False
    )
    places = [Path(line) for line in found.stdout.splitlines()]
    assert places  # it is in the bundle
    assert [p for p in places if device(p) == device(root)] == []


def device(path: Path) -> int | None:
    """Where it lies; None when it has gone since it was found, as what belongs to an exec does."""
    try:
        return path.stat().st_dev
    except FileNotFoundError:
        return None


async def test_nothing_is_left_of_a_pod(agent: Agent) -> None:
    sandbox = await agent.sandbox()
    await agent.run(FOREVER, sandbox, name="one", cgroup_parent=f"/mesh/burstable/pod{sandbox.pod_uid}")
    await agent.clear()
    config = agent.host.config
    run = config.run_dir
    for directory in ("netns", "sandboxes", "shm", "oci", "oom", "exec"):
        assert list((run / directory).iterdir()) == [], directory
    assert list((config.podman_dir / "root" / "overlay-containers").glob("*/userdata")) == []
    assert not (cgroups.ROOT / "memory/mesh/burstable" / f"pod{sandbox.pod_uid}").exists()
    assert await asyncio.to_thread(agent.host.podman, "volume", "ls", "--quiet") == ""
