"""The SDK against a real meshd: typed verbs, errors with their fields, watches that outlive their connection."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Unavailable
from mesh.pki import issue, user
from mesh.sdk import AsyncClient, Change, Client, Context
from mesh.v1.core_pb2 import ConfigMap, Namespace, Node, Pod
from tests.harness.control import DEADLINE, RunningMeshd
from tests.harness.hollow import Script
from tests.harness.objects import config_map, pod
from tests.harness.scripted_host import ScriptedHost, says
from tests.harness.wire import wire


def context_of(mesh: RunningMeshd, address: str = "", **more: str) -> Context:
    certs = mesh.certs
    texts = {
        "ca": certs.ca.certificate.decode(),
        "certificate": certs.admin.certificate.decode(),
        "key": certs.admin.key.decode(),
    }
    return Context((address or mesh.address,), **{**texts, **more}, name="test")


@pytest.fixture
async def client(served: RunningMeshd) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(context_of(served)) as made:
        yield made


async def test_objects_come_and_go_typed(client: AsyncClient) -> None:
    created = await client.create(config_map("settings", color="blue"))
    assert isinstance(created, ConfigMap)
    assert created.metadata.uid
    assert (await client.get(ConfigMap, "settings")).data["color"] == "blue"
    assert (await client.get("cm", "settings")).metadata.name == "settings"
    created.data["color"] = "green"
    updated = await client.update(created)
    assert updated.data["color"] == "green"
    patched = await client.patch(ConfigMap, "settings", {"data": {"size": "9", "color": None}})
    assert dict(patched.data) == {"size": "9"}
    await client.create(pod("web"))
    assert (
        await client.patch(Pod, "web", {"spec": {"activeDeadlineSeconds": 600}})
    ).spec.active_deadline_seconds == 600
    assert [c.metadata.name for c in await client.list(ConfigMap)] == ["settings"]
    await client.delete(ConfigMap, "settings")
    with pytest.raises(NotFound):
        await client.get(ConfigMap, "settings")


async def test_errors_come_back_as_what_they_are(client: AsyncClient) -> None:
    made = await client.create(config_map("settings"))
    with pytest.raises(AlreadyExists):
        await client.create(config_map("settings"))
    await client.patch(ConfigMap, "settings", {"data": {"a": "b"}})
    with pytest.raises(Conflict):
        await client.update(made)
    broken = pod("web")
    broken.spec.containers[0].ClearField("image")
    with pytest.raises(Invalid) as caught:
        await client.create(broken)
    assert [v.field for v in caught.value.violations] == ["spec.containers[0].image"]
    with pytest.raises(NotFound, match="there is no kind"):
        await client.get("pots", "x")


async def test_who_is_no_administrator_is_refused(served: RunningMeshd) -> None:
    eve = issue(served.certs.ca, user("eve", ("guests",)), int(time.time()))
    more = {"certificate": eve.certificate.decode(), "key": eve.key.decode()}
    async with AsyncClient(context_of(served, **more)) as client:
        with pytest.raises(Forbidden, match="eve"):
            await client.list(Pod)


async def test_apply_takes_text_paths_and_messages(client: AsyncClient, tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    (first,) = await client.apply(text)
    assert (first.outcome, first.previous) == ("created", None)
    (tmp_path / "ns.yaml").write_text(text)
    assert (await client.apply(tmp_path / "ns.yaml"))[0].outcome == "unchanged"
    assert (await client.apply(str(tmp_path / "ns.yaml")))[0].outcome == "unchanged"
    many = await client.apply([config_map("a", x="1"), config_map("b", "shop")])
    assert [c.outcome for c in many] == ["created", "created"]
    (changed,) = await client.apply(config_map("a", x="2"), dry_run=True)
    assert changed.outcome == "configured"
    assert (await client.get(ConfigMap, "a")).data["x"] == "1"
    with pytest.raises(Invalid, match=r"cannot read /nope\.yaml"):
        await client.apply("/nope.yaml")


async def test_lists_come_whole_and_say_their_revision(client: AsyncClient) -> None:
    await client.apply([config_map(f"c{n:04}") for n in range(1200)])
    found = await client.list(ConfigMap)
    assert (len(found), found[1199].metadata.name) == (1200, "c1199")
    assert found.revision >= int(found[0].metadata.resource_version or 0)
    assert await client.list(ConfigMap, namespace="kube-system") == []
    assert len(await client.list(ConfigMap, namespace="", fields="metadata.name=c0007")) == 1


async def test_wait_sees_what_is_wanted_or_says_what_is(client: AsyncClient, scripted: ScriptedHost) -> None:
    await client.create(pod("web"))
    ready = await client.wait(Pod, "web", condition="Ready", timeout=DEADLINE)
    assert ready is not None
    assert ready.status.phase == "Running"
    assert (await client.wait(Pod, "web", phase="Running")) is not None
    assert (await client.wait(Pod, "web", jsonpath="{.status.podIP}")) is not None
    scripted.refuse["bad"] = ("ErrImagePull", "cannot pull image x: no such image")
    await client.create(pod("bad"))
    with pytest.raises(TimeoutError, match=r'condition Ready of pod "bad": it is .*'):
        await client.wait(Pod, "bad", condition="Ready", timeout=2)
    waiting = asyncio.create_task(client.wait(Pod, "web", delete=True, timeout=DEADLINE))
    await client.delete(Pod, "web")
    assert await waiting is None
    with pytest.raises(NotFound):
        await client.wait(Pod, "web", condition="Ready")


async def _next(changes: AsyncIterator[Change[ConfigMap]]) -> tuple[str, str]:
    async with asyncio.timeout(DEADLINE):
        change = await anext(changes)
    return change.type, change.object.metadata.name


async def test_a_slow_line_or_a_busy_machine_is_not_taken_for_a_dead_meshd(served: RunningMeshd) -> None:
    async with wire(served.address) as line:
        line.delay = 1.0
        async with AsyncClient(context_of(served, line.address)) as client:
            assert "default" in [n.metadata.name for n in await client.list(Namespace)]
        assert line.made == 1


async def test_a_watch_goes_on_after_its_connection_broke(served: RunningMeshd) -> None:
    async with (
        wire(served.address) as line,
        AsyncClient(context_of(served, line.address)) as watcher,
        AsyncClient(context_of(served)) as other,
    ):
        await other.create(config_map("first"))
        changes = watcher.watch(ConfigMap)
        assert await _next(changes) == ("ADDED", "first")
        line.cut()
        await other.create(config_map("second"))
        await other.delete(ConfigMap, "first")
        line.mend()
        assert await _next(changes) == ("ADDED", "second")
        assert await _next(changes) == ("DELETED", "first")
        await other.patch(ConfigMap, "second", {"data": {"a": "b"}})
        assert await _next(changes) == ("MODIFIED", "second")
        assert line.made == 2
        await changes.aclose()


async def test_a_watch_that_is_too_old_lists_again_and_tells_every_change_once(served: RunningMeshd) -> None:
    async with (
        wire(served.address) as line,
        AsyncClient(context_of(served, line.address)) as watcher,
        AsyncClient(context_of(served)) as other,
    ):
        await other.apply([config_map("stays"), config_map("goes"), config_map("changes")])
        changes = watcher.watch(ConfigMap)
        assert {await _next(changes) for _ in range(3)} == {
            ("ADDED", "stays"), ("ADDED", "goes"), ("ADDED", "changes")
        }  # fmt: skip
        await other.create(config_map("marker"))
        assert await _next(changes) == ("ADDED", "marker")
        line.cut()
        await other.delete(ConfigMap, "goes")
        await other.patch(ConfigMap, "changes", {"data": {"a": "b"}})
        newest = await other.create(config_map("comes"))
        await served.store.compact(int(newest.metadata.resource_version))
        line.mend()
        told = {await _next(changes) for _ in range(3)}
        assert told == {("MODIFIED", "changes"), ("ADDED", "comes"), ("DELETED", "goes")}
        await other.create(config_map("last"))
        assert await _next(changes) == ("ADDED", "last")
        await changes.aclose()


async def test_a_watch_of_nobody_says_so_at_once(served: RunningMeshd) -> None:
    async with AsyncClient(context_of(served, "127.0.0.1:1")) as client:
        with pytest.raises(Unavailable, match="cannot reach meshd"):
            await anext(client.watch(Pod))


async def test_the_first_server_that_answers_is_used(served: RunningMeshd) -> None:
    texts = context_of(served)
    several = Context(("127.0.0.1:1", served.address), texts.ca, texts.certificate, texts.key)
    async with AsyncClient(several) as client:
        assert [n.metadata.name for n in await client.list(Node)] == ["host1"]


async def test_pods_are_talked_with(client: AsyncClient, scripted: ScriptedHost) -> None:
    scripted.logs["web/main"] = b"one\ntwo\nlast without an end"
    scripted.commands = {"id": says(b"0\n", b"hm\n", 4), "cat": Script(echo=True, exit_code=0)}
    await client.create(pod("web"))
    await client.wait(Pod, "web", condition="Ready", timeout=DEADLINE)
    assert [line async for line in client.logs("web", container="main")] == ["one", "two", "last without an end"]
    result = await client.exec("web", ["id"], container="main")
    assert (result.exit_code, result.text, result.stderr) == (4, "0\n", b"hm\n")
    big = bytes(range(256)) * 1000
    assert (await client.exec("web", ["cat"], container="main", stdin=big)).stdout == big
    with pytest.raises(NotFound):
        await client.exec("nope", ["id"])
    async with await client.port_forward("web", 80) as forward:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(big)
        async with asyncio.timeout(DEADLINE):
            assert await reader.readexactly(len(big)) == big
        writer.close()


async def test_a_terminal_changes_its_size(client: AsyncClient, scripted: ScriptedHost) -> None:
    scripted.commands["sh"] = Script(echo=True, exit_code=0)
    await client.create(pod("web"))
    await client.wait(Pod, "web", condition="Ready", timeout=DEADLINE)
    stream = await client.exec_stream("web", ["sh"], container="main", stdin=True, tty=True, size=(24, 80))
    async with stream:
        await stream.resize(50, 132)
        await stream.write(b"x")
        output = aiter(stream)
        async with asyncio.timeout(DEADLINE):
            assert await anext(output) == ("stdout", b"x")
        await stream.close_stdin()
        async with asyncio.timeout(DEADLINE):
            assert [piece async for piece in output] == []
    assert stream.exit_code == 0
    (opened,) = scripted.streams.values()
    assert (opened.opening.exec.rows, opened.opening.exec.columns) == (24, 80)
    assert (50, 132) in opened.sizes


async def test_the_blocking_twin_does_the_same(served: RunningMeshd, scripted: ScriptedHost) -> None:
    scripted.logs["web/main"] = b"one\ntwo\n"
    scripted.commands["hostname"] = says(b"web\n")

    def script() -> None:
        with Client(context_of(served)) as mesh:
            mesh.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
            assert mesh.get(Namespace, "shop").status.phase == "Active"
            mesh.create(pod("web"))
            mesh.wait(Pod, "web", condition="Ready", timeout=DEADLINE)
            assert list(mesh.logs("web", container="main")) == ["one", "two"]
            assert mesh.exec("web", ["hostname"], container="main").text == "web\n"
            with mesh.port_forward("web", 80) as forward:
                assert forward.port
            changes = mesh.watch(Pod)
            assert next(changes).object.metadata.name == "web"
            changes.close()  # type: ignore[attr-defined]  # it is a generator
            mesh.delete(Pod, "web")
            assert mesh.wait(Pod, "web", delete=True, timeout=DEADLINE) is None
            assert mesh.status().ray == "connected"
            with pytest.raises(NotFound):
                mesh.get(Pod, "web")

    await asyncio.to_thread(script)
