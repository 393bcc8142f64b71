"""An agent under control services of other releases, and over what agents of other releases have left on its host."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from mesh.errors import Invalid
from mesh.model import protocol
from mesh.model.unknown import unknown_field
from mesh.v1.node_pb2 import Assignment, ObserveRequest, Protocol
from nodeagent.checkpoint import Checkpoint
from nodeagent.pods.record import Record, from_json, to_json
from nodeagent.prepare import Changed
from nodeagent.runtime.oci import Chosen
from nodeagent.runtime.sandboxes import Record as Sandbox
from nodeagent.runtime.seen import SeenSandbox
from tests.harness.agents import World, a_pod
from tests.harness.bent_time import bent
from tests.harness.versions import FRESH, Dialect

FORMER = Dialect.former(protocol.PROTOCOL - 1)
TOMORROW = Dialect.tomorrow()


@pytest.mark.parametrize("way", [FORMER.heard, TOMORROW.said], ids=["former", "tomorrow"])
@bent
async def test_orders_of_a_neighbouring_release_are_carried_out_and_outlive_the_agent(
    tmp_path: Path, way: Callable[[Assignment], Assignment]
) -> None:
    world = World(tmp_path)
    world.carried = way
    world.order = Assignment(protocol=protocol.ours())
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.restart(assign=False)  # by what lies on its disk
    await world.until(lambda: world.phase("web") == "Running")
    world.carried = lambda order: order  # the control service is upgraded, or goes back
    await world.assign()
    await world.assign(a_pod("late"))
    await world.until(lambda: world.phase("late") == "Running")
    assert world.restarts("web") == 0
    assert len([call for call in world.host.calls if call[0] == "create"]) == 2  # one of each pod
    await world.delete("web")
    await world.until(lambda: world.gone("web"))
    await world.kill()


@bent
async def test_what_is_observed_reads_the_same_to_a_former_control_service(tmp_path: Path) -> None:
    world = World(tmp_path)
    agent = await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    observed = await agent.observe(ObserveRequest())
    assert observed.protocol == protocol.ours()
    heard = FORMER.heard(observed)
    assert heard.pods == observed.pods
    assert (heard.boot, heard.run_digest, heard.report) == (observed.boot, observed.run_digest, observed.report)
    assert not heard.HasField("protocol")
    await world.kill()


@bent
async def test_orders_of_a_release_too_far_away_are_refused_and_pods_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    world.order = Assignment(protocol=Protocol(speaks=9, oldest=8))
    with pytest.raises(Invalid, match="the control service needs at least protocol 8, and this release speaks 2"):
        await world.assign(a_pod("more"))
    monkeypatch.setattr(protocol, "OLDEST", 2)
    world.order = Assignment()  # of a release that said nothing of itself
    with pytest.raises(Invalid, match="the control service speaks protocol 1, and this release needs at least 2"):
        await world.assign()
    await world.restart(assign=False)  # what lies on the disk is its own, whoever had ordered it
    await world.until(lambda: world.phase("web") == "Running")
    assert world.restarts("web") == 0
    await world.kill()


def test_a_checkpoint_keeps_what_only_a_newer_release_knows(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "checkpoint")
    kept.write(TOMORROW.said(Assignment(node="node1", pods=[a_pod("web")])))
    read = kept.read()
    assert read is not None
    assert unknown_field(read) == f"the object: field {FRESH}"
    assert unknown_field(read.pods[0].spec)


def test_a_record_of_a_newer_agent_is_read_without_what_is_new() -> None:
    plain = json.loads(to_json(Record(started_at=3, drain=Record().drain)))
    plain["mood"] = "calm"
    plain["drain"]["why"] = "weather"
    plain["streaks"] = {"main": {"delay": 1, "updated_at": 2, "attempt": 3, "spec_hash": "h", "ceiling": 9}}
    plain["deaths"] = {"main": {"attempt": 1, "exit_code": 2, "reason": "Error", "signal": "TERM"}}
    record = from_json(json.dumps(plain))
    assert (record.started_at, record.streaks["main"].attempt, record.deaths["main"].exit_code) == (3, 3, 2)


def test_a_sandbox_of_another_release_is_read() -> None:
    seen = {
        "pod_uid": "u",
        "namespace": "default",
        "name": "web",
        "ip": "10.0.0.2",
        "created_at": 7,
    }  # of the first one
    for record in ({"seen": seen}, {"seen": {**seen, "mood": "calm"}, "ipc": "", "weather": "fine"}):
        assert Sandbox.of(json.dumps(record)) == Sandbox(SeenSandbox("u", "default", "web", "10.0.0.2", 7))


def test_what_a_newer_release_has_written_of_the_host_is_read(tmp_path: Path) -> None:
    chosen = Chosen("crun", "/usr/bin/crun", "/run/crun", "it is there", 2)
    for value, file in ((chosen, "runtime.json"), (Changed("0", ["/x"]), "host.json")):
        (tmp_path / file).write_text(json.dumps({**asdict(value), "mood": "calm"}))
        assert type(value).load(tmp_path / file) == value
