"""What every container runtime promises the agent: one suite for the fake and for a real Podman."""

import asyncio
import subprocess
from dataclasses import replace

import pytest

from nodeagent.runtime.port import Limits, Runtime, RuntimeFailure
from nodeagent.runtime.seen import Role, SeenPod, State
from tests.harness.fake_runtime import FakeRuntime, Program
from tests.harness.podman import PodmanHost
from tests.harness.runtimes import DEADLINE, World, ended, listen, look, new_uid, run, sandbox, settled


async def test_a_pod_from_nothing_to_nothing(agent: Runtime, world: World) -> None:
    uid, pokes = new_uid(), listen(agent)
    assert await agent.pod(uid) is None

    made = await agent.make_sandbox(sandbox(uid))
    assert (made.ip, made.namespace, made.name) == (made.ip, "default", f"pod-{uid}")
    assert made.ip.startswith("10.199.")
    assert made.netns
    assert (await look(agent, uid)).sandbox == made

    container_id = await agent.create(world.container(uid, program=Program(exit_after=0.2, exit_code=3)))
    created = (await look(agent, uid)).containers
    assert [(c.id, c.state, c.name, c.attempt, c.role) for c in created] == [
        (container_id, State.CREATED, "main", 0, Role.APP)
    ]
    await agent.start(container_id)
    running = (await look(agent, uid)).containers[0]
    assert running.started_at >= running.created_at > 0

    over = await ended(agent, pokes, running)
    assert (over.state, over.exit_code, over.oom_killed, over.pid) == (State.EXITED, 3, False, 0)
    assert over.finished_at >= over.started_at == running.started_at
    assert (over.image, over.spec_hash) == (world.image, "h")

    await agent.remove(container_id)
    assert (await look(agent, uid)).containers == ()
    await agent.remove_sandbox(uid)
    assert await agent.pod(uid) is None
    assert uid not in await agent.pods()


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_codes_are_told(agent: Runtime, world: World, code: int) -> None:
    pokes = listen(agent)
    container = await run(agent, world, Program(exit_after=0.1, exit_code=code))
    assert (await ended(agent, pokes, container)).exit_code == code


async def test_term_is_the_containers_to_answer(agent: Runtime, world: World) -> None:
    pokes = listen(agent)
    container = await run(agent, world, Program(on_term=7))
    await settled(world, container)
    await agent.kill(container.id, "TERM")
    assert (await ended(agent, pokes, container)).exit_code == 7


async def test_kill_ends_what_ignores_term(agent: Runtime, world: World) -> None:
    pokes = listen(agent)
    container = await run(agent, world, Program(on_term=None))
    await settled(world, container)
    await agent.kill(container.id, "SIGTERM")
    assert (await look(agent, container.pod_uid)).containers[0].state is State.RUNNING
    await agent.kill(container.id, "KILL")
    over = await ended(agent, pokes, container)
    assert (over.exit_code, over.oom_killed) == (137, False)
    await agent.kill(container.id, "KILL")


async def test_attempts_stand_side_by_side(agent: Runtime, world: World) -> None:
    pokes = listen(agent)
    first = await run(agent, world, Program(exit_after=0.05, exit_code=1))
    await ended(agent, pokes, first)
    second = await agent.create(world.container(first.pod_uid, attempt=1))
    await agent.start(second)
    pod = await look(agent, first.pod_uid)
    latest, previous = pod.latest("main"), pod.previous("main")
    assert latest and previous
    assert (latest.attempt, latest.state) == (1, State.RUNNING)
    assert (previous.attempt, previous.exit_code) == (0, 1)


async def test_the_same_attempt_is_replaced_unless_it_runs(agent: Runtime, world: World) -> None:
    uid = new_uid()
    await agent.make_sandbox(sandbox(uid))
    await agent.create(world.container(uid))
    again = await agent.create(world.container(uid))
    assert [c.id for c in (await look(agent, uid)).containers] == [again]
    await agent.start(again)
    assert await agent.create(world.container(uid)) == again


async def test_a_restarted_agent_finds_everything(agent: Runtime, world: World) -> None:
    pokes = listen(agent)
    over = await run(agent, world, Program(exit_after=0.05, exit_code=9))
    over = await ended(agent, pokes, over)
    lives = await run(agent, world, Program())
    before = {uid: await look(agent, uid) for uid in (over.pod_uid, lives.pod_uid)}
    await world.close(agent)

    second = await world.agent()
    after = await second.pods()
    for uid, pod in before.items():
        assert without_creation(after[uid]) == without_creation(pod)
    pokes = listen(second)
    await second.kill(lives.id, "KILL")
    assert (await ended(second, pokes, lives)).exit_code == 137


def without_creation(pod: SeenPod) -> SeenPod:
    """When a container was created is the runtime's to round."""
    return replace(pod, containers=tuple(replace(c, created_at=0, image_id="") for c in pod.containers))


async def test_removing_twice_is_no_error(agent: Runtime, world: World) -> None:
    container = await run(agent, world, Program())
    for _ in range(2):
        await agent.remove(container.id)
    for _ in range(2):
        await agent.remove_sandbox(container.pod_uid)
    await agent.remove_sandbox(new_uid())


async def test_every_sandbox_has_an_address_of_its_own(agent: Runtime) -> None:
    uids = [new_uid() for _ in range(5)]
    made = await asyncio.gather(*(agent.make_sandbox(sandbox(uid)) for uid in uids))
    assert len({s.ip for s in made}) == 5
    assert [await agent.make_sandbox(sandbox(uid)) for uid in uids] == made
    await agent.remove_sandbox(uids[0])
    fresh = await agent.make_sandbox(sandbox(new_uid()))
    assert fresh.ip not in {s.ip for s in made}  # an address rests a while


async def test_a_full_range_is_said(agent: Runtime, world: World) -> None:
    small = world.cidr.replace(".0/24", ".240/30")
    await agent.configure(small, "10.199.0.0/16")
    only = await agent.make_sandbox(sandbox(new_uid()))
    with pytest.raises(RuntimeFailure, match="is full") as failure:
        await agent.make_sandbox(sandbox(new_uid()))
    assert failure.value.reason == "FailedCreatePodSandBox"
    assert not failure.value.transient
    await agent.remove_sandbox(only.pod_uid)
    await agent.configure(world.cidr, "10.199.0.0/16")


async def test_a_pod_on_the_hosts_network_has_no_address(agent: Runtime, world: World) -> None:
    uid = new_uid()
    made = await agent.make_sandbox(sandbox(uid, host_network=True))
    assert (made.ip, made.netns, made.host_network) == ("", "", True)
    container_id = await agent.create(replace(world.container(uid), host_network=True))
    await agent.start(container_id)
    assert (await look(agent, uid)).containers[0].state is State.RUNNING


async def test_no_container_without_a_sandbox(agent: Runtime, world: World) -> None:
    with pytest.raises(RuntimeFailure, match="no sandbox") as failure:
        await agent.create(world.container(new_uid()))
    assert failure.value.reason == "CreateContainerError"


async def test_a_command_that_cannot_start_is_said_in_words(agent: Runtime, world: World) -> None:
    words = 'exec: "no-such-command": executable file not found in $PATH'
    bad = RuntimeFailure("RunContainerError", f"cannot start container main: {words}")
    uid = new_uid()
    await agent.make_sandbox(sandbox(uid))
    container_id = await agent.create(world.container(uid, program=Program(start_failure=bad)))
    with pytest.raises(RuntimeFailure) as failure:
        await agent.start(container_id)
    assert (failure.value.reason, failure.value.message) == (bad.reason, bad.message)
    assert [c.state for c in (await look(agent, uid)).containers] == [State.CREATED]
    await agent.create(world.container(uid, program=Program()))


async def test_a_kill_for_memory_is_seen(agent: Runtime, world: World) -> None:
    pokes = listen(agent)
    container = await run(agent, world, Program(exit_after=0.1, exit_code=137, oom=True))
    over = await ended(agent, pokes, container)
    assert (over.exit_code, over.oom_killed) == (137, True)


async def test_an_exit_pokes_within_milliseconds(agent: Runtime, world: World) -> None:
    pokes = listen(agent)
    container = await run(agent, world, Program(on_term=None))
    await agent.kill(container.id, "KILL")
    asked = asyncio.get_running_loop().time()
    await ended(agent, pokes, container)
    assert container.pod_uid in pokes.seen
    assert asyncio.get_running_loop().time() - asked < 10  # 2 to 10 ms on a quiet machine; a look at all, 60 s


async def test_a_command_runs_in_a_running_container(agent: Runtime, world: World) -> None:
    container = await run(agent, world, Program())
    argv = agent.exec_command(container, ["sh", "-c", "echo -n hello; exit 5"])
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=DEADLINE, check=False)
    assert (done.stdout, done.returncode) == (b"hello", 5)


async def test_a_runtime_that_is_away_is_a_passing_failure(
    agent: Runtime, world: World, host: PodmanHost | None
) -> None:
    pokes = listen(agent)
    container = await run(agent, world, Program())
    if host:
        host.kill()
    elif world.fake:
        world.fake.away = True
    with pytest.raises(RuntimeFailure) as failure:
        await agent.pods()
    assert failure.value.transient
    pokes.seen.clear()
    if host:
        host.start()
    elif isinstance(agent, FakeRuntime):
        agent.set_away(False)

    async def told() -> bool:
        return "" in pokes.seen

    await pokes.until(told)
    assert (await agent.pods())[container.pod_uid].containers == (container,)


async def test_a_resize_takes_no_memory_that_is_in_use(agent: Runtime, world: World) -> None:  # L20
    container = await run(agent, world, Program())
    if world.fake:
        world.fake.memory_in_use = 4096
    with pytest.raises(RuntimeFailure, match="below what is in use") as caught:
        await agent.resize(container.id, Limits(memory=1))
    assert caught.value.reason == "ResizeError"
    await agent.resize(container.id, Limits(cpu_shares=2, cpu_quota=20_000, memory=64 << 20))
    await agent.resize("0" * 64, Limits())  # none there: no error
