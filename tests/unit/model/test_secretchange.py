"""What a pod may ask for when a mounted Secret changes."""

import pytest

from mesh.model.secretchange import ANNOTATION, Reaction, reaction_of, refused, rolls


@pytest.mark.parametrize(
    ("text", "reaction"),
    [
        ("signal HUP", Reaction(signal="HUP")),
        (" signal SIGusr1 ", Reaction(signal="USR1")),
        ("exec nginx -s 're load'", Reaction(command=("nginx", "-s", "re load"))),
    ],
)
def test_what_can_be_asked_for(text: str, reaction: Reaction) -> None:
    assert refused(text) == ""
    assert reaction_of({ANNOTATION: text}) == reaction


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("signal KILL", "no signal"),
        ("signal", "no signal"),
        ("exec", "no command"),
        ("exec 'open", "no command line"),
        ("roll everything", '"roll"'),
        ("restart", "signal NAME"),
    ],
)
def test_what_can_not(text: str, why: str) -> None:
    assert why in refused(text)
    assert reaction_of({ANNOTATION: text}) is None


def test_rolling_is_not_the_business_of_a_host() -> None:
    assert refused("roll") == ""
    assert rolls({ANNOTATION: " roll "})
    assert not rolls({ANNOTATION: "signal HUP"})
    assert reaction_of({ANNOTATION: "roll"}) is None


def test_nothing_is_asked_for() -> None:
    assert reaction_of({}) is None
