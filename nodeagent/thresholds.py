"""When a host counts as full: the thresholds of agent.toml's [eviction], with Kubernetes' defaults (R9, R10).

Rule: pure. What is set replaces the default of that signal alone; "0" or "0%" turns a signal off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mesh.errors import Violation
from mesh.model import quantity

# In the order in which they are looked at: memory goes first. Each with the resource that people know it by.
SIGNALS = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "imagefs.available": "ephemeral-storage",
    "imagefs.inodesFree": "inodes",
    "pid.available": "pids",
}
DEFAULTS = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
CONDITIONS = {"memory": "MemoryPressure", "pids": "PIDPressure"}  # any other resource: DiskPressure
TRANSITION = 300  # seconds
_NUMBERS = ("max_pod_grace_seconds", "pressure_transition_seconds")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One line: less than `quantity` ("100Mi", "10%") for `grace` seconds (0: at once, a hard threshold)."""

    signal: str
    quantity: str
    grace: int = 0
    reclaim: str = ""  # once it was crossed, so much more than the threshold must be there again

    @property
    def resource(self) -> str:
        """What is short, as people name it."""
        return SIGNALS[self.signal]

    @property
    def condition(self) -> str:
        """The node's condition."""
        return CONDITIONS.get(self.resource, "DiskPressure")

    def amount(self, capacity: int) -> int:
        """The threshold in bytes, inodes or processes."""
        return amount(self.quantity, capacity)

    def relief(self, capacity: int) -> int:
        """From where on it counts as over."""
        return self.amount(capacity) + (amount(self.reclaim, capacity) if self.reclaim else 0)


def amount(text: str, capacity: int) -> int:
    """The number that a quantity or a percentage of a capacity stands for; raises ValueError."""
    if text.endswith("%"):
        return int(capacity * float(text[:-1]) / 100)
    return quantity.parse(text).whole


def _hard() -> Mapping[str, str]:
    return MappingProxyType(DEFAULTS)


@dataclass(frozen=True, slots=True)
class Eviction:
    """The table [eviction]."""

    hard: Mapping[str, str] = field(default_factory=_hard)
    soft: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # quantity, seconds of grace
    reclaim: Mapping[str, str] = field(default_factory=dict)
    max_pod_grace_seconds: int = 0  # of soft evictions; 0: the pod's own
    pressure_transition_seconds: int = TRANSITION

    def thresholds(self) -> list[Threshold]:
        """All that are on, in the order in which they are looked at; a signal's hard one before its soft one."""
        found = []
        for signal in SIGNALS:
            if signal in self.hard:
                found.append(Threshold(signal, self.hard[signal], 0, self.reclaim.get(signal, "")))
            if signal in self.soft:
                text, grace = self.soft[signal]
                found.append(Threshold(signal, text, grace, self.reclaim.get(signal, "")))
        return [t for t in found if t.amount(1 << 40)]

    def guarded(self, signal: str, capacity: int) -> int:
        """What the hard threshold of a signal keeps from pods (R8)."""
        return amount(self.hard[signal], capacity) if signal in self.hard else 0


def parse(value: Any) -> tuple[Eviction, list[Violation]]:
    """The settings of a parsed TOML table, and what is wrong with it, by field."""
    if not isinstance(value, dict):
        return Eviction(), [Violation("eviction", "must be a table: [eviction]")]
    known = ("hard", "soft", "minimum_reclaim", *_NUMBERS)
    wrong = [Violation(f"eviction.{name}", "is not a key of [eviction]") for name in value if name not in known]
    for name in _NUMBERS:
        number = value.get(name, 0)
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            wrong.append(Violation(f"eviction.{name}", "must be a whole number of seconds"))
    for group in ("hard", "minimum_reclaim"):
        wrong += _wrong_quantities(group, value.get(group, {}))
    wrong += _wrong_soft(value.get("soft", {}))
    if wrong:
        return Eviction(), wrong
    soft = {name: (entry["threshold"], entry["grace_seconds"]) for name, entry in value.get("soft", {}).items()}
    numbers = {name: value[name] for name in _NUMBERS if name in value}
    return Eviction(
        {**DEFAULTS, **value.get("hard", {})}, soft, value.get("minimum_reclaim", {}), **numbers
    ), []  # fmt: skip


def _wrong_quantities(group: str, table: Any) -> list[Violation]:
    if not isinstance(table, dict):
        return [Violation(f"eviction.{group}", f"must be a table: [eviction.{group}]")]
    return [w for name, text in table.items() for w in _wrong_quantity(f'eviction.{group}."{name}"', name, text)]


def _wrong_quantity(where: str, signal: str, text: Any) -> list[Violation]:
    if signal not in SIGNALS:
        return [Violation(where, f"is not a signal; there are {', '.join(SIGNALS)}")]
    try:
        good = isinstance(text, str) and amount(text, 100) >= 0 and (text[-1:] != "%" or float(text[:-1]) <= 100)
    except ValueError:
        good = False
    return [] if good else [Violation(where, 'must be a text such as "500Mi" or "10%"')]


def _wrong_soft(table: Any) -> list[Violation]:
    if not isinstance(table, dict):
        return [Violation("eviction.soft", "must be a table: [eviction.soft]")]
    wrong = []
    for name, entry in table.items():
        where = f'eviction.soft."{name}"'
        if not isinstance(entry, dict) or set(entry) != {"threshold", "grace_seconds"}:
            wrong.append(Violation(where, 'must be { threshold = "300Mi", grace_seconds = 90 }'))
            continue
        wrong += _wrong_quantity(where, name, entry["threshold"])
        grace = entry["grace_seconds"]
        if not isinstance(grace, int) or isinstance(grace, bool) or grace < 1:
            wrong.append(Violation(f"{where}.grace_seconds", "must be at least 1: how long before pods go"))
    return wrong
