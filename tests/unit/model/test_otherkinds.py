"""Kinds that a mesh does not have: each is said to be missing with a reason, and never one that is served."""

import pytest

from mesh.errors import NotFound
from mesh.model import otherkinds
from mesh.model.kinds import kind_for_word, kind_named, served_kinds


@pytest.mark.parametrize(
    "word", ["NetworkPolicy", "networkpolicies", "netpol", "StorageClass", "storageclasses", "sc", "leases", "crd"]
)
def test_each_of_its_words_tells_why(word: str) -> None:
    with pytest.raises(NotFound, match=f'there is no kind "{word}": '):
        kind_for_word(word)


def test_a_manifests_kind_tells_why() -> None:
    with pytest.raises(NotFound, match='"ClusterRole": view, edit, admin'):
        kind_named("ClusterRole")


def test_no_kind_that_is_served_is_said_to_be_missing() -> None:
    for kind in served_kinds():
        for word in (kind.name, kind.plural, *kind.short_names):
            assert ": " not in otherkinds.missing(word, ()), word


@pytest.mark.parametrize(
    ("word", "meant"), [("poods", "pods"), ("deploymnet", "deployment"), ("statefullsets", "statefulsets")]
)
def test_a_misspelled_word_names_the_nearest_in_its_own_form(word: str, meant: str) -> None:
    with pytest.raises(NotFound, match=f'did you mean "{meant}"'):
        kind_for_word(word)


def test_what_is_like_nothing_is_sent_to_the_list() -> None:
    with pytest.raises(NotFound, match="`mesh api-resources` lists the kinds"):
        kind_for_word("zebra")
