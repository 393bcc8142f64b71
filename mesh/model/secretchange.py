"""What a pod wants done when a Secret that it mounts has changed: an annotation of ours.

    mesh/on-secret-change: signal HUP            to the first process of each container that mounts it
    mesh/on-secret-change: exec nginx -s reload  in each of them
    mesh/on-secret-change: roll                  its owner replaces it, and all of its kind

Rule: pure; files follow a change in any case. Environments never do (E6): `roll` is the way to get them new.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

ANNOTATION = "mesh/on-secret-change"
ROLL = "roll"
SEEN = "mesh/secrets-seen"  # of a workload: which Secrets it knows, at which revision
ROLLING = "mesh/rolled-for-secrets"  # of its template: because of which it was changed
_SIGNALS = frozenset((
    "HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "CONT", "WINCH", "PWR", "URG", "IO", "VTALRM", "PROF",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reaction:
    """A signal without "SIG", or a command; never both."""

    signal: str = ""
    command: tuple[str, ...] = ()


def reaction_of(annotations: Mapping[str, str]) -> Reaction | None:
    """What a host is to do; None for nothing, for what is not its business, and for what can't be read."""
    text = annotations.get(ANNOTATION, "")
    return None if not text or refused(text) or rolls(annotations) else _parsed(text)


def rolls(annotations: Mapping[str, str]) -> bool:
    """Whether its owner is to replace it."""
    return annotations.get(ANNOTATION, "").strip() == ROLL


def refused(text: str) -> str:
    """Why an annotation can't be, in words; "" when it can."""
    verb, _, rest = text.strip().partition(" ")
    if verb == ROLL and not rest:
        return ""
    if verb not in ("signal", "exec"):
        return 'must read "signal NAME", "exec COMMAND" or "roll"'
    try:
        reaction = _parsed(text)
    except ValueError as error:
        return f"is no command line: {error}"
    if verb == "signal" and reaction.signal not in _SIGNALS:
        return f'"{rest.strip()}" is no signal that a program could take for a message: {", ".join(sorted(_SIGNALS))}'
    if verb == "exec" and not reaction.command:
        return "names no command"
    return ""


def _parsed(text: str) -> Reaction:
    verb, _, rest = text.strip().partition(" ")
    if verb == "signal":
        return Reaction(signal=rest.strip().upper().removeprefix("SIG"))
    return Reaction(command=tuple(shlex.split(rest)))
