"""Pods that live only as long as somebody says that they are wanted: annotations of ours.

    mesh/lease-seconds: "30"      deleted when so many seconds have gone by without
    mesh/lease-renewed: now       this, for which admission writes meshd's own time

Rule: pure. Every time compared is meshd's, so nobody's clock has to be right. A lease that can't be read is no lease.
"""

from collections.abc import Mapping

from mesh.model.annotations import whole
from mesh.model.times import SECOND, format_rfc3339, from_timestamp, parse_rfc3339, whole_seconds
from mesh.v1.core_pb2 import Pod

SECONDS = "mesh/lease-seconds"
RENEWED = "mesh/lease-renewed"
NOW = "now"
seconds = whole(1, 86_400)


def refused(annotations: Mapping[str, str]) -> str:
    """Why the lease of these annotations can't be; empty when it can, or there is none."""
    if SECONDS not in annotations:
        return ""
    try:
        seconds(annotations[SECONDS])
    except ValueError as error:
        return str(error)
    return ""


def date(pod: Pod, now: int) -> None:
    """Writes the time (nanoseconds since the epoch) where a renewal says `now`."""
    if pod.metadata.annotations.get(RENEWED) == NOW:
        pod.metadata.annotations[RENEWED] = format_rfc3339(whole_seconds(now))


def runs_out(pod: Pod) -> int | None:
    """When the lease ends, in nanoseconds since the epoch; None: it has none."""
    meta = pod.metadata
    if SECONDS not in meta.annotations or refused(meta.annotations):
        return None
    try:
        renewed = from_timestamp(parse_rfc3339(meta.annotations.get(RENEWED, "")))
    except ValueError:
        renewed = 0
    return max(renewed, from_timestamp(meta.creation_timestamp)) + seconds(meta.annotations[SECONDS]) * SECOND
