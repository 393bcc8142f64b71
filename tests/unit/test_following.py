"""What a follower serves, and what it says of all else."""

import pytest

from mesh.following import refusal
from mesh.leader import Candidate

LEADER = Candidate("a", "10.0.0.1:7443")


@pytest.mark.parametrize("method", ["Resources/Get", "Resources/List", "Resources/Watch", "Control/Status"])
def test_objects_are_shown(method: str) -> None:
    assert refusal(f"/mesh.v1.{method}", LEADER) is None
    assert refusal("/grpc.health.v1.Health/Check", LEADER) is None


@pytest.mark.parametrize(
    "method", ["Resources/Apply", "Resources/Delete", "Pods/Exec", "Access/Renew", "Control/Backup"]
)
def test_whoever_wants_more_is_told_who_leads(method: str) -> None:
    assert "a leads, at 10.0.0.1:7443" in str(refusal(f"/mesh.v1.{method}", LEADER))
    assert "nobody leads" in str(refusal(f"/mesh.v1.{method}", None))


def test_a_candidate_comes_back_as_it_was() -> None:
    assert Candidate.decode(LEADER.encode()) == LEADER
