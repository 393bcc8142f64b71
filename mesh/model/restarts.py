"""Which containers that ended are started again, and how long after: policies, rules, a pod's own wish (L1 to L4).

    mesh/crash-loop-initial-seconds: "1"     the second restart comes after so many seconds, each later one after twice
    mesh/crash-loop-max-seconds: "30"        as many, up to so many; 10 and 300 without these annotations

Rule: pure. The container's rules come before its policy, and that before the pod's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.errors import Violation
from mesh.model.annotations import counted
from mesh.v1.core_pb2 import Container, PodSpec

INITIAL, LONGEST = "mesh/crash-loop-initial-seconds", "mesh/crash-loop-max-seconds"
MOST = 300
_INITIAL = 10
_MOST_RULES, _MOST_CODES = 20, 255


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between a container's end and its next start: the first, doubling up to the longest (L2)."""

    initial: int = _INITIAL
    longest: int = MOST


def again(spec: PodSpec, container: Container, exit_code: int) -> bool:
    """Whether a container that ended with this code is started again (L1)."""
    if any(_matches(container, number, exit_code) for number in range(len(container.restart_policy_rules))):
        return True
    policy = container.restart_policy or spec.restart_policy or "Always"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _matches(container: Container, number: int, exit_code: int) -> bool:
    codes = container.restart_policy_rules[number].exit_codes
    return (exit_code in codes.values) == (codes.operator == "In")


def backoff_of(annotations: Mapping[str, str], longest: int = MOST) -> Backoff:
    """A pod's; `longest` is what its host allows at most. What can't be read is as if it were not there."""
    most = min(_seconds(annotations.get(LONGEST, "")) or longest, longest)
    return Backoff(min(_seconds(annotations.get(INITIAL, "")) or _INITIAL, most), most)


def check_annotations(annotations: Mapping[str, str], path: str) -> Iterator[Violation]:
    """What is wrong with a pod's own wish."""
    for name in (INITIAL, LONGEST):
        if name in annotations and not _seconds(annotations[name]):
            why = f'must be a whole number of seconds, 1 to {MOST}, is "{annotations[name]}"'
            yield Violation(f'{path}.annotations["{name}"]', why)


def check_container(container: Container, path: str) -> Iterator[Violation]:
    """What is wrong with a container's own rules (L1)."""
    rules = container.restart_policy_rules
    if rules and not container.HasField("restart_policy"):
        yield Violation(f"{path}.restartPolicy", "is required with restartPolicyRules")
    if len(rules) > _MOST_RULES:
        yield Violation(f"{path}.restartPolicyRules", f"must be no more than {_MOST_RULES}, are {len(rules)}")
    for index, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{index}].exitCodes"
        if not rule.HasField("exit_codes"):
            yield Violation(where, "is required")
        elif not 0 < len(rule.exit_codes.values) <= _MOST_CODES:
            yield Violation(f"{where}.values", f"must be 1 to {_MOST_CODES} codes")


def _seconds(text: str) -> int:
    """0 for what is none."""
    said = counted(text)
    return said if said is not None and said <= MOST else 0
