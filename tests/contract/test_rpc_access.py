"""Roles over real sockets: what they let in, what they keep out, when they are taken away, and what is written down."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode, aio

from mesh.config import Limits
from mesh.meshd import Settings
from mesh.model.kinds import Object, pack, unpack
from mesh.model.manifest import load
from mesh.rpc.audit import AuditFile
from mesh.v1 import access_pb2
from mesh.v1 import control_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessStub
from mesh.v1.control_pb2_grpc import PodsStub, ResourcesStub
from mesh.v1.core_pb2 import Pod, Secret
from tests.harness.audits import Audits
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.objects import config_map, namespace, pod
from tests.harness.refusals import refused

RBAC = "apiVersion: rbac.authorization.k8s.io/v1"
EDITOR = f"""
{RBAC}
kind: RoleBinding
metadata: {{name: ada-edits, namespace: team}}
roleRef: {{kind: ClusterRole, name: edit}}
subjects: [{{kind: User, name: ada}}]
"""


@dataclass
class Doors:
    mesh: RunningMeshd
    audits: Audits

    async def apply(self, channel: aio.Channel, *objects: Object | str) -> pb.ApplyResponse:
        read = [o for given in objects for o in (load(given, "test").objects if isinstance(given, str) else [given])]
        return await ResourcesStub(channel).Apply(pb.ApplyRequest(objects=[pack(o) for o in read]), timeout=60)


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    audits = Audits()
    async with control(settings=Settings(audit=audits)) as mesh:
        made = Doors(mesh, audits)
        await made.apply(mesh.channel(), namespace("team"), namespace("other"))
        yield made


def secret(name: str, space: str = "team") -> Secret:
    made = Secret(api_version="v1", kind="Secret", data={"password": b"tiger"})
    made.metadata.name, made.metadata.namespace = name, space
    return made


def key(kind: str, name: str, space: str = "team") -> pb.ObjectKey:
    return pb.ObjectKey(kind=kind, namespace=space, name=name)


async def test_an_editor_writes_in_his_namespace_and_nowhere_else(doors: Doors) -> None:
    admin, ada = doors.mesh.channel(), doors.mesh.user("ada")
    stub = ResourcesStub(ada)
    refusal = await refused(doors.apply(ada, config_map("c", "team")))
    assert (refusal.code, refusal.kind) == (StatusCode.PERMISSION_DENIED, "Forbidden")
    assert '"ada" may not create configmaps "c" in namespace "team"' in refusal.message
    assert "--clusterrole=edit" in refusal.message
    await doors.apply(admin, EDITOR)
    await doors.apply(ada, config_map("c", "team"), secret("s"))
    await stub.Get(pb.GetRequest(key=key("Secret", "s")))
    await stub.List(pb.ListRequest(kind="ConfigMap", namespace="team"))
    await stub.Delete(pb.DeleteRequest(key=key("Secret", "s")))
    for call in (
        doors.apply(ada, config_map("c", "other")),
        doors.apply(ada, config_map("d", "team"), config_map("c", "other")),  # all or none
        doors.apply(ada, namespace("mine")),
        doors.apply(ada, EDITOR.replace("ada-edits", "eve-edits")),
        stub.List(pb.ListRequest(kind="ConfigMap")),
        stub.Get(pb.GetRequest(key=key("ConfigMap", "c", "other"))),
        stub.Create(pb.CreateRequest(object=pack(config_map("x", "other")))),
        stub.Update(pb.UpdateRequest(object=pack(config_map("c", "other")))),
        stub.Patch(pb.PatchRequest(key=key("ConfigMap", "c", "other"))),
        stub.Delete(pb.DeleteRequest(key=key("ConfigMap", "c", "other"))),
        stub.Delete(pb.DeleteRequest(key=key("Namespace", "team"))),
        stub.Watch(pb.WatchRequest(namespace="team")).read(),
        stub.Watch(pb.WatchRequest(kind="Pod")).read(),
        PodsStub(ada).Logs(pb.LogsRequest(namespace="other", pod="x")).read(),
    ):
        assert (await refused(call)).code is StatusCode.PERMISSION_DENIED
    assert (await refused(stub.Get(pb.GetRequest(key=key("ConfigMap", "d"))))).code is StatusCode.NOT_FOUND


async def test_a_viewer_sees_no_secret_and_goes_into_no_pod(doors: Doors) -> None:
    await doors.apply(
        doors.mesh.channel(), EDITOR.replace("name: edit}", "name: view}"), secret("s"), pod("web", "team")
    )
    ada = doors.mesh.user("ada")
    stub, pods = ResourcesStub(ada), PodsStub(ada)
    await stub.Get(pb.GetRequest(key=key("Pod", "web")))
    assert (await refused(pods.Logs(pb.LogsRequest(namespace="team", pod="web")).read())).code is StatusCode.ABORTED
    for call in (
        stub.Get(pb.GetRequest(key=key("Secret", "s"))),
        stub.List(pb.ListRequest(kind="Secret", namespace="team")),
        stub.Watch(pb.WatchRequest(kind="Secret", namespace="team")).read(),
        stub.Get(pb.GetRequest(key=key("RoleBinding", "ada-edits"))),
        pods.Exec(iter([pb.ExecInput(start={"namespace": "team", "pod": "web"})])).read(),
        pods.PortForward(iter([pb.PortForwardInput(start={"namespace": "team", "pod": "web", "port": 1})])).read(),
        doors.apply(ada, pod("web", "team")),
    ):
        assert (await refused(call)).code is StatusCode.PERMISSION_DENIED


async def test_nobody_gives_what_he_has_not_by_any_verb(doors: Doors) -> None:
    admin, ada = doors.mesh.channel(), doors.mesh.user("ada")
    await doors.apply(admin, EDITOR.replace("name: edit}", "name: admin}"))
    stub = ResourcesStub(ada)
    rules = "rules: [{verbs: [get], apiGroups: [''], resources: [pods]}]"
    mine = f"{RBAC}\nkind: Role\nmetadata: {{name: r, namespace: team}}\n{rules}\n"
    await doors.apply(ada, mine)
    more = load(mine.replace("[get]", "['*']").replace("[pods]", "['*']"), "test").objects[0]
    for call in (
        doors.apply(ada, more),
        stub.Update(pb.UpdateRequest(object=pack(more))),
        stub.Patch(_patch("Role", "r", {"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]})),
        doors.apply(ada, EDITOR.replace("ada-edits", "x").replace("name: edit}", "name: cluster-admin}")),
    ):
        refusal = await refused(call)
        assert refusal.code is StatusCode.PERMISSION_DENIED
        assert "nobody gives what he has not himself" in refusal.message
    await doors.apply(ada, EDITOR.replace("ada-edits", "eve-views").replace("name: ada}", "name: eve}"))
    changed = EDITOR.replace("name: edit}", "name: view}")
    assert "roleRef" in (await refused(doors.apply(admin, changed))).fields


def _patch(kind: str, name: str, patch: dict[str, object]) -> pb.PatchRequest:
    request = pb.PatchRequest(key=key(kind, name))
    request.patch.update(patch)
    return request


async def test_the_status_of_a_pod_is_a_right_of_its_own(doors: Doors) -> None:  # P22
    admin, ada = doors.mesh.channel(), doors.mesh.user("ada")
    waiting = pod("web", "team")
    waiting.spec.readiness_gates.add(condition_type="example.com/gate")
    await doors.apply(admin, EDITOR, waiting)
    request = _patch("Pod", "web", {"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}})
    request.subresource = "status"
    refusal = await refused(ResourcesStub(ada).Patch(request))
    assert (refusal.code, "pods/status" in refusal.message) == (StatusCode.PERMISSION_DENIED, True)
    await doors.apply(
        admin,
        f"{RBAC}\nkind: Role\nmetadata: {{name: gates, namespace: team}}\n"
        "rules: [{verbs: [patch], apiGroups: [''], resources: [pods/status]}]\n",
        EDITOR.replace("ada-edits", "ada-gates").replace(
            "{kind: ClusterRole, name: edit}", "{kind: Role, name: gates}"
        ),
    )
    await ResourcesStub(ada).Patch(request)
    held = unpack((await ResourcesStub(ada).Get(pb.GetRequest(key=key("Pod", "web")))).object)
    assert isinstance(held, Pod)
    assert ("example.com/gate", "True") in [(c.type, c.status) for c in held.status.conditions]
    request.subresource = "scale"
    assert (await refused(ResourcesStub(admin).Patch(request))).code is StatusCode.INVALID_ARGUMENT


async def test_a_watch_ends_when_its_role_is_taken_away(doors: Doors) -> None:
    admin, ada = doors.mesh.channel(), doors.mesh.user("ada")
    await doors.apply(admin, EDITOR)
    watch = ResourcesStub(ada).Watch(pb.WatchRequest(kind="Pod", namespace="team"))
    assert (await watch.read()).type == pb.WatchEvent.BOOKMARK
    mine = ResourcesStub(admin).Watch(pb.WatchRequest(kind="Pod", namespace="team"))
    assert (await mine.read()).type == pb.WatchEvent.BOOKMARK
    await ResourcesStub(admin).Delete(pb.DeleteRequest(key=key("RoleBinding", "ada-edits")))
    assert (await refused(watch.read())).code is StatusCode.PERMISSION_DENIED
    await doors.apply(admin, pod("web", "team"))
    assert (await mine.read()).type == pb.WatchEvent.ADDED
    assert doors.audits.of("ada")[-1] == (False, "watch pods")


async def test_a_list_goes_on_only_for_who_began_it(doors: Doors) -> None:
    await doors.apply(doors.mesh.channel(), EDITOR, *(config_map(f"c{i}", "team") for i in range(3)))
    request = pb.ListRequest(kind="ConfigMap", namespace="team", limit=1)
    first = await ResourcesStub(doors.mesh.channel()).List(request)
    setattr(request, "continue", getattr(first, "continue"))
    assert (await refused(ResourcesStub(doors.mesh.user("ada")).List(request))).kind == "TooOld"
    assert len((await ResourcesStub(doors.mesh.channel()).List(request)).objects) == 1


async def test_a_host_gets_the_secrets_of_its_pods_alone(doors: Doors) -> None:
    held = pod("web", "team", node_name="host1")
    held.spec.volumes.add(name="c").config_map.name = "mine"
    await doors.apply(doors.mesh.channel(), config_map("mine", "team"), config_map("other", "team"), secret("s"), held)
    host, stranger = ResourcesStub(doors.mesh.node("host1")), ResourcesStub(doors.mesh.node("host2"))
    await host.Get(pb.GetRequest(key=key("ConfigMap", "mine")))
    await host.List(pb.ListRequest(kind="Pod", field_selector="spec.nodeName=host1"))
    for call in (
        stranger.Get(pb.GetRequest(key=key("ConfigMap", "mine"))),
        host.Get(pb.GetRequest(key=key("ConfigMap", "other"))),
        host.Get(pb.GetRequest(key=key("Secret", "s"))),
        host.List(pb.ListRequest(kind="Pod")),
    ):
        assert (await refused(call)).code is StatusCode.PERMISSION_DENIED
    assert {(False, "get secrets s"), (False, "list pods")} <= set(doors.audits.of("mesh:node:host1"))


async def test_a_host_gets_no_secret_of_another_hosts_pods(doors: Doors) -> None:
    held = pod("web", "team", node_name="host1")
    held.spec.volumes.add(name="s").secret.secret_name = "s"
    await doors.apply(doors.mesh.channel(), secret("s"), held)
    assert await ResourcesStub(doors.mesh.node("host1")).Get(pb.GetRequest(key=key("Secret", "s")))
    refusal = await refused(ResourcesStub(doors.mesh.node("host2")).Get(pb.GetRequest(key=key("Secret", "s"))))
    assert (refusal.code, "none of the pods on it" in refusal.message) == (StatusCode.PERMISSION_DENIED, True)
    assert doors.audits.of("mesh:node:host2") == [(False, "get secrets s")]
    assert doors.audits.of("mesh:node:host1") == [(True, "get secrets s")]


async def test_what_is_written_down(doors: Doors) -> None:
    ada = doors.mesh.user("ada", "devs")
    await doors.apply(doors.mesh.channel(), EDITOR)
    await doors.apply(ada, secret("s"))
    await ResourcesStub(ada).Get(pb.GetRequest(key=key("Secret", "s")))
    await ResourcesStub(ada).List(pb.ListRequest(kind="Pod", namespace="team"))  # of no interest
    await refused(ResourcesStub(ada).List(pb.ListRequest(kind="Node")))
    assert doors.audits.of("ada") == [
        (True, "create secrets s"), (True, "get secrets s"), (False, "list nodes")
    ]  # fmt: skip
    record = doors.audits.records[-1]
    assert record["groups"] == ["devs", "system:authenticated"]
    assert record["by"].startswith("certificate ")
    assert record["from"].startswith("ipv4:127.0.0.1:")
    assert record["method"] == "/mesh.v1.Resources/List"
    assert record["time"].endswith("+00:00")
    assert "tiger" not in json.dumps(doors.audits.records)


async def test_can_i_and_whoami(doors: Doors) -> None:
    admin, ada = AccessStub(doors.mesh.channel()), AccessStub(doors.mesh.user("ada", "devs"))
    await doors.apply(doors.mesh.channel(), EDITOR)
    who = await ada.WhoAmI(access_pb2.WhoAmIRequest())
    assert (who.name, list(who.groups)) == ("ada", ["devs", "system:authenticated"])
    ask = access_pb2.CanIRequest(verb="create", resource="pods/exec", namespace="team")
    assert (await ada.CanI(ask)).allowed
    ask.namespace = "other"
    answer = await ada.CanI(ask)
    assert (answer.allowed, "no role allows it" in answer.why) == (False, True)
    ask.user = "eve"
    assert (await refused(ada.CanI(ask))).code is StatusCode.PERMISSION_DENIED
    assert not (await admin.CanI(ask)).allowed
    ask.groups.append("mesh:editors")
    assert (await admin.CanI(ask)).allowed
    rules = (await ada.Grants(access_pb2.GrantsRequest(namespace="team"))).rules
    assert {r.source for r in rules} == {'RoleBinding "ada-edits" in namespace "team"'}
    assert "serviceaccounts/token" in {w for r in rules for w in r.resources}


async def test_the_command(doors: Doors, tmp_path: Path) -> None:
    cli = Cli(doors.mesh, tmp_path)
    result = await cli("create", "rolebinding", "b", "--clusterrole=view", "--user=eve", "-n", "team")
    assert result.out == "rolebinding.rbac.authorization.k8s.io/b created\n", result.err
    assert (await cli("create", "role", "r", "--verb=get,list", "--resource=po,pods/log", "-n", "team")).code == 0
    assert (await cli("create", "sa", "robot", "-n", "team")).code == 0
    assert "ClusterRole/view" in (await cli("get", "rolebindings", "-n", "team")).out
    assert (await cli("auth", "whoami")).out.splitlines()[1].split() == ["Name", "admin"]
    yes = await cli("auth", "can-i", "get", "pods/log", "-n", "team", "--as", "eve")
    assert (yes.code, yes.out) == (0, 'yes - RoleBinding "b" in namespace "team"\n')
    no = await cli("auth", "can-i", "delete", "po/web", "-n", "team", "--as", "eve")
    assert (no.code, no.out.startswith("no - no role allows it")) == (1, True)
    assert (await cli("auth", "can-i", "create", "backups.mesh")).out == "yes - the group mesh:admins\n"
    listed = await cli("auth", "can-i", "--list", "-n", "team", "--as", "eve")
    assert 'RoleBinding "b" in namespace "team"' in listed.out
    assert json.loads((await cli("auth", "whoami", "-o", "json")).out)["name"] == "admin"


def test_the_audit_log_is_private_and_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "audit.log"
    log = AuditFile(path, max_bytes=200, keep=2)
    for number in range(12):
        log.write({"number": number, "why": "x" * 50})
    log.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["audit.log", "audit.log.1", "audit.log.2"]
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}
    kept = [json.loads(line)["number"] for name in ("audit.log.2", "audit.log.1", "audit.log")
            for line in (path.parent / name).read_text().splitlines()]  # fmt: skip
    assert kept == list(range(12))[-len(kept) :]
    assert kept[-1] == 11
    again = AuditFile(path, max_bytes=10_000)
    again.write({"number": 12})
    again.close()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()][-1] == 12


async def test_one_client_asks_for_too_much_and_others_are_served() -> None:
    limits = Limits(calls_per_second=1, burst=30, streams=2)
    async with control(settings=Settings(limits=limits)) as mesh:
        ada, bob = mesh.user("ada", "mesh:viewers"), mesh.user("bob", "mesh:viewers")
        watches = [ResourcesStub(ada).Watch(pb.WatchRequest(kind="Pod")) for _ in range(2)]
        for watch in watches:
            await watch.read()
        more = ResourcesStub(mesh.user("ada", "mesh:viewers")).Watch(pb.WatchRequest(kind="Pod"))
        assert "too many streams" in (await refused(more.read())).message
        ask = access_pb2.WhoAmIRequest()
        told = await asyncio.gather(*(AccessStub(ada).WhoAmI(ask) for _ in range(60)), return_exceptions=True)
        refusals = [r for r in told if isinstance(r, aio.AioRpcError)]
        assert 20 <= len(refusals) < 60
        assert {r.code() for r in refusals} == {StatusCode.UNAVAILABLE}
        await AccessStub(bob).WhoAmI(ask)
        watches[0].cancel()


async def test_a_message_that_is_too_large_is_refused(doors: Doors) -> None:
    huge = pb.ApplyRequest(objects=[pack(config_map("c", text="x" * (33 << 20)))])
    assert (await refused(ResourcesStub(doors.mesh.channel()).Apply(huge))).code is StatusCode.RESOURCE_EXHAUSTED
