"""What a PodDisruptionBudget may say (C18).

Rule: pure; every violation with its field.
"""

from collections.abc import Iterator

from mesh.errors import Violation
from mesh.model.annotations import counted
from mesh.v1.meta_pb2 import IntOrString
from mesh.v1.policy_pb2 import PodDisruptionBudget


def check(budget: PodDisruptionBudget) -> Iterator[Violation]:
    """What is wrong with it."""
    spec = budget.spec
    if spec.HasField("min_available") and spec.HasField("max_unavailable"):
        yield Violation("spec.maxUnavailable", "may not be given beside minAvailable")
    for name in ("min_available", "max_unavailable"):
        if spec.HasField(name) and (why := _why_no_share(getattr(spec, name))):
            yield Violation("spec.minAvailable" if name == "min_available" else "spec.maxUnavailable", why)


def _why_no_share(value: IntOrString) -> str:
    if value.WhichOneof("kind") != "string_value":
        return "" if value.int_value >= 0 else f"must be at least 0, is {value.int_value}"
    share = counted(value.string_value.removesuffix("%"))
    if share is None or not value.string_value.endswith("%"):
        return f'must be a number or a percentage such as "50%", is "{value.string_value}"'
    return "" if share <= 100 else f'must be at most 100%, is "{value.string_value}"'
