"""What admission's tests share: a mesh with its namespaces, and objects from YAML."""

import textwrap
from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Pod
from mesh.view import View
from tests.harness import objects

NOW = 1_770_000_000 * 10**9 + 123

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web, tier: front}}
spec:
  containers:
  - {name: a, image: "nginx:1", env: [{name: A, value: x}]}
"""


@pytest.fixture
def view() -> View:
    """A mesh that has its initial namespaces and one that is being deleted."""
    leaving = objects.namespace("leaving")
    leaving.status.phase = "Terminating"
    return View(Snapshot(7, [*objects.namespaces(), leaving]))


@pytest.fixture
def stamp() -> Stamp:
    """A moment with a uid and a suffix."""
    return Stamp(NOW, "11111111-2222-3333-4444-555555555555", "x7k2p")


@pytest.fixture
def read() -> Callable[[str], Object]:
    """The one object of a YAML text, in the namespace "default"."""

    def one(text: str) -> Object:
        (obj,) = manifest.load(textwrap.dedent(text), "a.yaml", default_namespace="default").objects
        return obj

    return one


@pytest.fixture
def old(view: View, stamp: Stamp, read: Callable[[str], Object]) -> Pod:
    """A pod that was applied, is on a node and runs."""
    made = admit.apply(read(POD), None, view, stamp).object
    assert isinstance(made, Pod)
    made = admit.bind(made, "n1", stamp.now)
    made.metadata.resource_version = "9"
    made.status.phase = "Running"
    return made
