"""Which fields of a pod its environment and its volumes may show (E5).

Rule: pure data; admission refuses any other path, the agent knows a value for each of these.
"""

import re

from mesh.model import formats, quantity

OF_ANYTHING = ("metadata.name", "metadata.namespace", "metadata.uid")
OF_ENVIRONMENT = (
    *OF_ANYTHING, "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
TABLES = ("metadata.labels", "metadata.annotations")
OF_VOLUME = (*OF_ANYTHING, *TABLES)
KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
RESOURCES = tuple(f"{g}.{n}" for g in ("limits", "requests") for n in ("cpu", "memory", "ephemeral-storage"))
_CPU_DIVISORS = ("", "0", "1", "1m")
_SIZE_DIVISORS = ("", "0", "1", *(f"1{u}" for u in ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))


def refused(path: str, known: tuple[str, ...]) -> str:
    """Why a path can't be referred to; "" when it can."""
    if not path or path in known:
        return ""
    keyed = KEYED.fullmatch(path)
    if keyed:
        return formats.label_key(keyed[2])
    tables = ", ".join(f"{n}['<key>']" for n in TABLES)
    return f'"{path}" cannot be referred to; known are {", ".join(known)}, {tables}'


def divisor_refused(resource: str, divisor: str) -> str:
    """Why an amount can't be told in these units; "" when it can."""
    try:
        text = quantity.canonical(divisor) if divisor else ""
    except ValueError:
        return ""  # the rules report it
    allowed = _CPU_DIVISORS if resource.endswith(".cpu") else _SIZE_DIVISORS
    shown = ", ".join(d for d in allowed if d not in ("", "0"))
    return "" if text in allowed else f'must be one of {shown} for {resource}, is "{divisor}"'
