"""What `mesh status` says of several meshd and of the cluster that holds their store."""

from mesh.cli.status import alerts, members
from mesh.v1.control_pb2 import ControlMember, HostStatus, StatusResponse, StoreMember

A = ControlMember(name="a", address="10.0.0.1:7443", leads=True, answers=True)
B = ControlMember(name="b", address="10.0.0.2:7443")
WELL = [StoreMember(address="e1:2379", state="leads"), StoreMember(address="e2:2379", state="follows")]


def status(control: list[ControlMember], store: list[StoreMember]) -> StatusResponse:
    hosts = [HostStatus(name="host1", connected=True)]
    return StatusResponse(ray="connected", hosts=hosts, control_members=control, store_members=store)


def test_one_meshd_over_a_file_is_no_cluster() -> None:
    assert members(status([], [])) == []
    assert alerts(status([], [])) == []


def test_who_leads_and_who_follows_is_shown() -> None:
    assert members(status([A, B], WELL)) == [
        "control   a at 10.0.0.1:7443 leads, b at 10.0.0.2:7443 follows",
        "etcd      e1:2379 leads, e2:2379 follows",
    ]
    assert alerts(status([A, B], WELL)) == []


def test_what_is_missing_is_told() -> None:
    gone = StoreMember(address="e3:2379", state="does not answer")
    assert alerts(status([A, B], [*WELL, gone])) == ["etcd's member e3:2379 does not answer"]
    assert alerts(status([A], WELL)) == ["no second meshd is there to take over"]
    (nobody, follows) = alerts(status([B, B], WELL))
    assert nobody.startswith("no meshd leads")
    assert follows.startswith("this meshd follows")
