"""What a rule of a role allows: verbs x kinds x names, as Kubernetes' PolicyRule says it.

Rule: pure; nothing is allowed but by a rule. A kind is named by its API group and its plural ("" and "pods"), a part
of an object by "pods/log". `*` stands for all; "*/log" for that part of all kinds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesh.model.kinds import Kind
from mesh.v1.auth_pb2 import PolicyRule

ANY = "*"
SERVICE = "mesh"  # the API group of what is no object: images, tokens, certificates, backups, the service's status
METRICS = "metrics.k8s.io"  # the API group of what pods and hosts use
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Ask:
    """One wish. An empty namespace: all of them, or a kind without; an empty name: any, or not known yet.

    `node` is the host to which a list or watch of pods confines itself.
    """

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    node: str = ""

    @property
    def what(self) -> str:
        """The kind and the part, as rules name them: "pods/log"."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def __str__(self) -> str:
        named = f' "{self.name}"' if self.name else ""
        place = f' in namespace "{self.namespace}"' if self.namespace else ""
        group = f".{self.group}" if self.group else ""
        resource = f"{self.resource}{group}" + (f"/{self.subresource}" if self.subresource else "")
        return f"{self.verb} {resource}{named}{place}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Every combination of these is allowed; no `names` means all of them."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str] = frozenset()

    def allows(self, ask: Ask) -> bool:
        """Whether the wish is within this rule, its namespace apart."""
        return (
            _has(self.verbs, ask.verb)
            and _has(self.groups, ask.group)
            and _has_resource(self.resources, ask.what)
            and (not self.names or ask.name in self.names)
        )

    def asks(self, namespace: str) -> Iterator[Ask]:
        """Its combinations one by one; `*` is a combination of its own."""
        for verb in sorted(self.verbs):
            for group in sorted(self.groups):
                for what in sorted(self.resources):
                    resource, _, part = what.partition("/")
                    for name in sorted(self.names) or ("",):
                        yield Ask(verb, group, resource, part, namespace, name)

    @property
    def size(self) -> int:
        """How many combinations `asks` has."""
        return len(self.verbs) * len(self.groups) * len(self.resources) * max(1, len(self.names))


def rule(verbs: Iterable[str], groups: Iterable[str], resources: Iterable[str], names: Iterable[str] = ()) -> Rule:
    """A rule of lists."""
    return Rule(frozenset(verbs), frozenset(groups), frozenset(resources), frozenset(names))


def of_policy(policy: PolicyRule) -> Rule:
    """A rule as it lies in a Role."""
    return rule(policy.verbs, policy.api_groups, policy.resources, policy.resource_names)


def group_of(kind: Kind) -> str:
    """The API group of a kind; "" of the core group."""
    return kind.api_version.rpartition("/")[0]


def _has(allowed: frozenset[str], asked: str) -> bool:
    return ANY in allowed or asked in allowed


def _has_resource(allowed: frozenset[str], asked: str) -> bool:
    if ANY in allowed or asked in allowed:
        return True
    _, slash, part = asked.partition("/")
    return bool(slash) and f"*/{part}" in allowed
