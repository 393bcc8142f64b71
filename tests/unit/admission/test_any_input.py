"""Whatever is sent, the answer is an object or one of the mesh's own errors, and what was given stays as it was."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import MeshError
from mesh.model import manifest
from mesh.model.fields import copy_of
from mesh.model.yamltext import documents, plain
from mesh.view import View

MANIFESTS = sorted((Path(__file__).parents[2] / "golden" / "manifests").glob("*.yaml"))
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 2**70, 0.5, 1e30, float("inf"), float("nan"), "", " ", "x", "yes", "-", "..", "/",
    "x" * 300, "\ud800", "\x00", "1e999", "-5", [], {}, [None], [[]], [{}], {"": None}, {"\ud800": "x"}, {"a": {}},
)  # fmt: skip


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([at] if at else []), *(p for key, v in inner for p in _places(v, (*at, key)))]


def _spoilt(value: Any, dice: random.Random) -> Any:
    spoilt = copy.deepcopy(value)
    for _ in range(dice.randint(1, 3)):
        places = _places(spoilt)
        *path, last = dice.choice(places)
        into = spoilt
        for key in path:
            into = into[key]
        if dice.random() < 0.2 and isinstance(into, dict):
            into[dice.choice(("x", "name", "spec", "", "data"))] = into.pop(last)
        elif dice.random() < 0.2 and isinstance(into, list):
            into.append(copy.deepcopy(into[last]))
        else:
            into[last] = copy.deepcopy(dice.choice(ODD))
    return spoilt


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
        given = _spoilt(value, dice)
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
