"""Which objects a command line names: "po", "po,no", "pod web db", "pod/web node/a".

Rule: pure; a mistake is an Invalid that says how it should look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.errors import Invalid
from mesh.model.kinds import Kind, kind_for_word, served_kinds

_ALL = ("Pod", "ReplicationController", "Service", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet",
        "HorizontalPodAutoscaler", "CronJob", "Job")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Objects of one kind: those named, or with no names all that the selectors choose."""

    kind: Kind
    names: tuple[str, ...] = ()


def parse(words: Sequence[str]) -> list[Target]:
    """The targets, in the order they were named; several words of a kind are one target. Raises Invalid, NotFound."""
    if not words:
        raise Invalid("say what kind of objects, such as pods; `mesh api-resources` lists the kinds")
    if any("/" in word for word in words):
        return _slashed(words)
    kinds = [kind for word in words[0].split(",") if word for kind in _kinds(word)]
    if not kinds:
        raise Invalid(f'"{words[0]}" names no kind; `mesh api-resources` lists the kinds')
    return [Target(kind, tuple(words[1:])) for kind in dict.fromkeys(kinds)]


def one(words: Sequence[str], default: str = "Pod") -> Target:
    """Exactly one object: "web", "pod/web" or "pod web"; a bare name is of the default kind."""
    if len(words) == 1 and "/" not in words[0]:
        words = (default, words[0])
    targets = parse(words)
    if len(targets) != 1 or len(targets[0].names) != 1:
        raise Invalid(f'say one name, such as {default.lower()}/NAME; "{" ".join(words)}" is not that')
    return targets[0]


def ref(kind: Kind, name: str) -> str:
    """An object as kubectl refers to it: pod/web, deployment.apps/web."""
    group = kind.api_version.rpartition("/")[0]
    return f"{kind.name.lower()}.{group}/{name}" if group else f"{kind.name.lower()}/{name}"


def _slashed(words: Sequence[str]) -> list[Target]:
    found: list[Target] = []
    for word in words:
        kind_word, slash, name = word.partition("/")
        if not (slash and kind_word and name) or "/" in name:
            raise Invalid(f'"{word}" should read KIND/NAME, as the other words do')
        kind = kind_for_word(kind_word.partition(".")[0])
        if found and found[-1].kind is kind:
            found[-1] = Target(kind, (*found[-1].names, name))
        else:
            found.append(Target(kind, (name,)))
    return found


def _kinds(word: str) -> list[Kind]:
    if word == "all":
        return [kind for kind in served_kinds() if kind.name in _ALL]
    return [kind_for_word(word.partition(".")[0])]
