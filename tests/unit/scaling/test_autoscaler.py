"""The shell around autoscalers: one that fails keeps no other from its look."""

import asyncio

import pytest

from mesh.exposition.tally import Tally
from mesh.exposition.text import Page
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.model.manifest import load
from mesh.scaling import autoscaler
from mesh.scaling.behavior import Memory
from mesh.scaling.look import Looked
from mesh.scaling.readings import Readings
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.store.port import Write
from mesh.view import View
from tests.harness import objects
from tests.harness.bent_time import bent, now_ns

HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: NAME, namespace: default}
spec: {scaleTargetRef: {kind: Deployment, name: NAME}, maxReplicas: 3}
"""


@bent
async def test_one_on_which_a_look_fails_is_told_and_the_others_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def look_at_all_but_bad(key: Key, _view: View, _readings: Readings, memory: Memory, _now: int) -> Looked:
        looked.append(key.name)
        if key.name == "bad":
            raise KeyError("hunter2")
        return Looked((), memory)

    monkeypatch.setattr(autoscaler, "look", look_at_all_but_bad)
    store, tally = MemoryStore(), Tally()
    held = [load(HPA.replace("NAME", name), "test").objects[0] for name in ("bad", "good")]
    await store.commit([Write(key_of(obj), obj, 0) for obj in (objects.namespace("default"), *held)])
    feed = Feed(store)
    it = autoscaler.Autoscalers(feed, store, lambda _host: None, now_ns, 15.0, tally)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
        tasks = [group.create_task(feed.run()), group.create_task(it.run())]
        await asyncio.sleep(20)
        for task in tasks:
            task.cancel()
    assert looked == ["bad", "good"] * 2
    (told,) = feed.view.of_kind("Event")
    assert (told.involved_object.name, told.reason, told.count) == ("bad", "ControllerFailed", 2)
    assert "hunter2" not in told.message
    page = Page()
    tally.show(page)
    assert 'controller="autoscalers",result="error"} 2' in page.render().decode()
