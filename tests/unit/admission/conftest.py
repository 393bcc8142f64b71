"""What admission's tests share: a mesh with its namespaces, and objects from YAML."""

import textwrap
from collections.abc import Callable

import pytest

from mesh.admission.admit import Stamp
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.view import View
from tests.harness import objects

NOW = 1_770_000_000 * 10**9 + 123


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
