"""Writing and reading objects over the wire: atomic, previewed, conflict-safe, in pages."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.json_format import ParseDict

from mesh.model.kinds import KINDS, Object, pack, unpack
from mesh.v1 import control_pb2 as pb
from mesh.v1.control_pb2_grpc import ResourcesStub
from mesh.v1.core_pb2 import ConfigMap, Pod
from mesh.v1.meta_pb2 import ObjectMeta
from tests.harness import objects
from tests.harness.control import RunningMeshd, control
from tests.harness.refusals import refused


@pytest.fixture
async def mesh() -> AsyncIterator[RunningMeshd]:
    async with control() as running:
        yield running


@pytest.fixture
async def api(mesh: RunningMeshd) -> ResourcesStub:
    return mesh.resources


async def apply(api: ResourcesStub, *objs: Object, dry_run: bool = False) -> pb.ApplyResponse:
    return await api.Apply(pb.ApplyRequest(objects=[pack(o) for o in objs], dry_run=dry_run))


def outcomes(response: pb.ApplyResponse) -> list[str]:
    return [pb.ApplyResult.Outcome.Name(r.outcome) for r in response.results]


def key(kind: str, name: str, namespace: str = "default") -> pb.ObjectKey:
    return pb.ObjectKey(kind=kind, namespace=namespace, name=name)


async def get(api: ResourcesStub, kind: str, name: str, namespace: str = "default") -> Object:
    return unpack((await api.Get(pb.GetRequest(key=key(kind, name, namespace)))).object)


async def names(api: ResourcesStub, kind: str, **request: object) -> list[str]:
    response = await api.List(pb.ListRequest(kind=kind, **request))
    return [unpack(o).metadata.name for o in response.objects]


# ---- apply


async def test_apply_creates_then_changes_then_leaves(api: ResourcesStub) -> None:
    made = await apply(api, objects.config_map("c", a="1"))
    again = await apply(api, objects.config_map("c", a="1"))
    changed = await apply(api, objects.config_map("c", a="2", b="3"))
    assert [outcomes(r) for r in (made, again, changed)] == [["CREATED"], ["UNCHANGED"], ["CONFIGURED"]]
    assert made.revision == again.revision < changed.revision
    assert not made.results[0].HasField("previous")
    previous, now = unpack(changed.results[0].previous), unpack(changed.results[0].object)
    assert isinstance(previous, ConfigMap)
    assert isinstance(now, ConfigMap)
    assert dict(previous.data) == {"a": "1"}
    assert dict(now.data) == {"a": "2", "b": "3"}
    assert now.metadata.uid == previous.metadata.uid
    assert now.metadata.resource_version == str(changed.revision)
    assert await get(api, "ConfigMap", "c") == now


async def test_without_a_namespace_the_one_called_default_is_meant(api: ResourcesStub) -> None:
    made = await apply(api, objects.config_map("c", "", a="1"))
    again = await apply(api, objects.config_map("c", "", a="1"))
    assert [outcomes(r) for r in (made, again)] == [["CREATED"], ["UNCHANGED"]]
    assert await names(api, "ConfigMap", namespace="default") == ["c"]


async def test_several_objects_are_one_commit_in_which_the_first_count_for_the_later(api: ResourcesStub) -> None:
    response = await apply(api, objects.namespace("team"), objects.pod("p", "team"), objects.config_map("c", "team"))
    assert outcomes(response) == ["CREATED"] * 3
    versions = {unpack(r.object).metadata.resource_version for r in response.results}
    assert versions == {str(response.revision)}


async def test_one_bad_object_and_nothing_of_the_request_is_done(api: ResourcesStub) -> None:
    bad = objects.pod("bad")
    bad.spec.containers[0].ports.add(container_port=0)
    refusal = await refused(apply(api, objects.config_map("good"), objects.namespace("team"), bad))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.INVALID_ARGUMENT, "Invalid")
    assert "spec.containers[0].ports[0].containerPort" in refusal.fields
    assert await names(api, "ConfigMap") == []
    assert "team" not in await names(api, "Namespace")


async def test_very_many_wrong_fields_still_arrive(api: ResourcesStub) -> None:
    bad = objects.pod("bad")
    for i in range(300):
        bad.spec.containers[0].ports.add(container_port=100_000 + i, name=f"Not-{i}")
    refusal = await refused(apply(api, bad))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "spec.containers[0].ports[0].containerPort" in refusal.fields
    assert any(reason.endswith("more") for reason in refusal.fields.values())


async def test_an_unknown_namespace_is_named(api: ResourcesStub) -> None:
    refusal = await refused(apply(api, objects.pod("p", "nowhere")))
    assert "metadata.namespace" in refusal.fields
    assert '"nowhere"' in refusal.message


async def test_the_same_object_twice_in_a_request_is_refused(api: ResourcesStub) -> None:
    refusal = await refused(apply(api, objects.config_map("c", a="1"), objects.config_map("c", a="2")))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "twice" in refusal.message


async def test_a_dry_run_answers_as_if_and_does_nothing(api: ResourcesStub, mesh: RunningMeshd) -> None:
    before = mesh.meshd.feed.view.revision
    response = await apply(api, objects.namespace("team"), objects.pod("p", "team"), dry_run=True)
    assert outcomes(response) == ["CREATED", "CREATED"]
    made = unpack(response.results[1].object)
    assert isinstance(made, Pod)
    assert made.spec.restart_policy == "Always"  # defaults are shown
    assert mesh.meshd.feed.view.revision == before
    assert await names(api, "Pod") == []
    refusal = await refused(apply(api, objects.pod("p", "nowhere"), dry_run=True))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_kinds_that_are_not_served_are_refused_by_name(api: ResourcesStub) -> None:
    kind = next(k for k in KINDS if not k.served)
    obj = kind.message(api_version=kind.api_version, kind=kind.name, metadata=ObjectMeta(name="d"))
    if kind.namespaced:
        obj.metadata.namespace = "default"
    refusal = await refused(apply(api, obj))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert kind.name in refusal.message
    assert (await refused(api.List(pb.ListRequest(kind=kind.name)))).code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refused(api.List(pb.ListRequest(kind="Sandwich")))).code is grpc.StatusCode.NOT_FOUND


async def test_what_is_no_object_is_refused(api: ResourcesStub) -> None:
    request = pb.ApplyRequest()
    request.objects.add(type_url="type.googleapis.com/mesh.v1.Pod", value=b"\xff\xff\xff")
    assert (await refused(api.Apply(request))).code is grpc.StatusCode.INVALID_ARGUMENT
    request.objects[0].type_url = "type.googleapis.com/mesh.v1.ObjectMeta"
    assert (await refused(api.Apply(request))).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_merges_at_once_all_go_through(api: ResourcesStub) -> None:
    await apply(api, objects.config_map("shared"))
    patches = [ParseDict({"data": {f"k{i}": "v"}}, struct_pb2.Struct()) for i in range(20)]
    calls = [api.Patch(pb.PatchRequest(key=key("ConfigMap", "shared"), patch=patch)) for patch in patches]
    await asyncio.gather(*calls)
    shared = await get(api, "ConfigMap", "shared")
    assert isinstance(shared, ConfigMap)
    assert len(shared.data) == 20


# ---- create, update, patch


async def test_create_makes_names_and_refuses_what_is_there(api: ResourcesStub) -> None:
    pod = objects.pod("")
    pod.metadata.ClearField("name")
    pod.metadata.generate_name = "web-"
    answers = await asyncio.gather(*(api.Create(pb.CreateRequest(object=pack(pod))) for _ in range(5)))
    made = {unpack(a.object).metadata.name for a in answers}
    assert len(made) == 5
    assert all(name.startswith("web-") and len(name) == 9 for name in made)
    await api.Create(pb.CreateRequest(object=pack(objects.config_map("c"))))
    refusal = await refused(api.Create(pb.CreateRequest(object=pack(objects.config_map("c")))))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists")


async def test_update_of_an_old_version_conflicts_and_of_none_replaces(api: ResourcesStub) -> None:
    await apply(api, objects.config_map("c", a="1"))
    old = await get(api, "ConfigMap", "c")
    assert isinstance(old, ConfigMap)
    old.data["a"] = "2"
    first = await api.Update(pb.UpdateRequest(object=pack(old)))
    refusal = await refused(api.Update(pb.UpdateRequest(object=pack(old))))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.ABORTED, "Conflict")
    blind = objects.config_map("c", a="3")
    second = await api.Update(pb.UpdateRequest(object=pack(blind)))
    assert second.revision > first.revision
    refusal = await refused(api.Update(pb.UpdateRequest(object=pack(objects.config_map("nothing")))))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_of_two_updates_at_once_one_conflicts(api: ResourcesStub) -> None:
    await apply(api, objects.config_map("c", a="1"))
    old = await get(api, "ConfigMap", "c")
    calls = []
    for text in "xy":
        fresh = ConfigMap()
        fresh.CopyFrom(old)  # type: ignore[arg-type]  # it is a ConfigMap
        fresh.data["a"] = text
        calls.append(api.Update(pb.UpdateRequest(object=pack(fresh))))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(isinstance(r, grpc.aio.AioRpcError) for r in results) == [False, True]


async def test_patch_merges_and_removes(api: ResourcesStub) -> None:
    await apply(api, objects.config_map("c", a="1", b="2"))
    patch = ParseDict({"data": {"a": None, "c": "3"}, "metadata": {"labels": {"x": "y"}}}, struct_pb2.Struct())
    answer = await api.Patch(pb.PatchRequest(key=key("ConfigMap", "c"), patch=patch))
    now = unpack(answer.object)
    assert isinstance(now, ConfigMap)
    assert (dict(now.data), dict(now.metadata.labels)) == ({"b": "2", "c": "3"}, {"x": "y"})
    stale = pb.PatchRequest(key=key("ConfigMap", "c"), patch=patch, resource_version="1")
    assert (await refused(api.Patch(stale))).code is grpc.StatusCode.ABORTED
    bad = ParseDict({"date": {}}, struct_pb2.Struct())
    assert (await refused(api.Patch(pb.PatchRequest(key=key("ConfigMap", "c"), patch=bad)))).code is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


# ---- get, list


async def test_what_is_not_there_is_said_in_words(api: ResourcesStub) -> None:
    refusal = await refused(get(api, "Pod", "ghost"))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.NOT_FOUND, "NotFound")
    assert refusal.message == 'there is no Pod "ghost" in namespace "default"'
    assert (await refused(get(api, "Pod", "ghost", ""))).fields == {
        "key.namespace": "is required: a Pod lies in a namespace"
    }
    assert (await refused(api.Get(pb.GetRequest(key=key("Node", ""))))).fields == {"key.name": "is required"}


async def test_lists_select_by_namespace_labels_and_fields(api: ResourcesStub) -> None:
    first, second = objects.pod("a"), objects.pod("b", "kube-public")
    first.metadata.labels["app"], second.metadata.labels["app"] = "web", "db"
    await apply(api, first, second, objects.pod("c"))
    assert await names(api, "Pod") == ["a", "c", "b"]
    assert await names(api, "Pod", namespace="kube-public") == ["b"]
    assert await names(api, "Pod", label_selector="app") == ["a", "b"]
    assert await names(api, "Pod", label_selector="app!=web", namespace="default") == ["c"]
    assert await names(api, "Pod", field_selector="metadata.name=b") == ["b"]
    assert await names(api, "Pod", field_selector="status.phase=Pending,spec.nodeName=") == ["a", "c", "b"]
    for wrong in ({"label_selector": "a b c"}, {"field_selector": "spec.colour=red"}):
        call = api.List(pb.ListRequest(kind="Pod", **wrong))
        assert (await refused(call)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_pages_are_of_one_revision(api: ResourcesStub) -> None:
    await apply(api, *(objects.config_map(f"c{i}") for i in range(7)))
    page = await api.List(pb.ListRequest(kind="ConfigMap", limit=3))
    seen, revision = [unpack(o).metadata.name for o in page.objects], page.revision
    assert page.remaining == 4
    await apply(api, objects.config_map("c3", changed="yes"), objects.config_map("zz"))
    while token := getattr(page, "continue"):
        page = await api.List(pb.ListRequest(kind="ConfigMap", limit=3, **{"continue": token}))
        seen += [unpack(o).metadata.name for o in page.objects]
        assert page.revision == revision
    assert seen == [f"c{i}" for i in range(7)]
    forgotten = api.List(pb.ListRequest(kind="ConfigMap", **{"continue": "gone"}))
    assert (await refused(forgotten)).code is grpc.StatusCode.OUT_OF_RANGE


async def test_a_list_larger_than_a_message_comes_in_pages_unasked(api: ResourcesStub) -> None:
    for i in range(25):
        await apply(api, objects.config_map(f"c{i:02}", blob="x" * 1_000_000))
    first = await api.List(pb.ListRequest(kind="ConfigMap"))
    assert 0 < len(first.objects) < 25
    rest = await api.List(pb.ListRequest(kind="ConfigMap", **{"continue": getattr(first, "continue")}))
    assert [unpack(o).metadata.name for o in (*first.objects, *rest.objects)] == [f"c{i:02}" for i in range(25)]


# ---- delete


async def test_what_has_no_host_is_removed_at_once(api: ResourcesStub) -> None:
    await apply(api, objects.config_map("c"), objects.pod("p"))
    for kind, name in (("ConfigMap", "c"), ("Pod", "p")):
        answer = await api.Delete(pb.DeleteRequest(key=key(kind, name)))
        assert unpack(answer.object).metadata.name == name
        assert (await refused(get(api, kind, name))).code is grpc.StatusCode.NOT_FOUND
        assert (await refused(api.Delete(pb.DeleteRequest(key=key(kind, name))))).code is grpc.StatusCode.NOT_FOUND


async def test_preconditions_and_dry_run_of_a_delete(api: ResourcesStub) -> None:
    await apply(api, objects.config_map("c"))
    for wrong in ({"uid": "another"}, {"resource_version": "1"}):
        refusal = await refused(api.Delete(pb.DeleteRequest(key=key("ConfigMap", "c"), **wrong)))
        assert refusal.code is grpc.StatusCode.ABORTED
    await api.Delete(pb.DeleteRequest(key=key("ConfigMap", "c"), dry_run=True))
    held = await get(api, "ConfigMap", "c")
    await api.Delete(pb.DeleteRequest(key=key("ConfigMap", "c"), uid=held.metadata.uid))
    assert await names(api, "ConfigMap") == []


async def test_finalizers_hold_an_object_until_they_are_taken_away(api: ResourcesStub) -> None:
    held = objects.config_map("c")
    held.metadata.finalizers.append("example.com/hold")
    await apply(api, held)
    marked = unpack((await api.Delete(pb.DeleteRequest(key=key("ConfigMap", "c")))).object)
    assert marked.metadata.HasField("deletion_timestamp")
    patch = ParseDict({"metadata": {"finalizers": None}}, struct_pb2.Struct())
    await api.Patch(pb.PatchRequest(key=key("ConfigMap", "c"), patch=patch))
    assert await names(api, "ConfigMap") == []


async def test_a_namespace_goes_with_all_that_is_in_it(api: ResourcesStub, mesh: RunningMeshd) -> None:
    await apply(api, objects.namespace("team"), objects.config_map("c", "team"), objects.pod("p", "team"))
    await api.Delete(pb.DeleteRequest(key=key("Namespace", "team", "")))
    async with asyncio.timeout(30):
        while "team" in await names(api, "Namespace"):
            await mesh.meshd.feed.reached(mesh.meshd.feed.view.revision + 1)
    assert await names(api, "Pod", namespace="team") == []
    assert await names(api, "Event", namespace="team") == []
    refusal = await refused(api.Delete(pb.DeleteRequest(key=key("Namespace", "default", ""))))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_large_object_is_refused_by_its_size(api: ResourcesStub) -> None:
    refusal = await refused(apply(api, objects.config_map("big", blob="x" * (5 << 20))))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert await names(api, "ConfigMap") == []
