"""Whatever is sent, the answer is an object or one of the mesh's own errors, and what was given stays as it was."""

import random
from pathlib import Path

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import MeshError
from mesh.model import manifest
from mesh.model.fields import copy_of
from mesh.model.yamltext import documents, plain
from mesh.view import View
from tests.harness.spoiling import spoilt

MANIFESTS = sorted((Path(__file__).parents[2] / "golden" / "manifests").glob("*.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_is_an_object_or_an_error_of_ours(path: Path, view: View, stamp: Stamp) -> None:
    dice = random.Random(path.stem)
    text = path.read_text()
    (value,) = (plain(d) for d in documents(text))
    (whole,) = manifest.load(text, path.name).objects
    try:
        old = admit.apply(whole, None, view, stamp).object
    except MeshError:
        old = whole  # of a kind of a later release
    before = copy_of(old)
    accepted = 0
    for _ in range(400):
        given = spoilt(value, dice)
        try:
            obj = manifest.from_dict(given, "x")
            admit.apply(obj, old if type(obj) is type(old) else None, view, stamp)
            admit.apply(obj, None, view, stamp)
            accepted += 1
        except MeshError as error:
            assert str(error)
        try:
            admit.patch(given, old, view, stamp)
        except MeshError as error:
            assert str(error)
    assert old == before
    assert accepted < 400
