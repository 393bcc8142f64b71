"""The Python client: async, with a blocking twin.

Rule: importing this package imports nothing heavy; a name is loaded when it is asked for, so that `mesh --help` and
shell completion stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.sdk.blocking import Client
    from mesh.sdk.client import Applied, AsyncClient
    from mesh.sdk.context import Context
    from mesh.sdk.run import Ended, PodFailed, run_pod
    from mesh.sdk.streams import ExecResult
    from mesh.sdk.watch import Change

_HOMES = {
    "Applied": "mesh.sdk.client",
    "AsyncClient": "mesh.sdk.client",
    "Change": "mesh.sdk.watch",
    "Client": "mesh.sdk.blocking",
    "Context": "mesh.sdk.context",
    "Ended": "mesh.sdk.run",
    "ExecResult": "mesh.sdk.streams",
    "PodFailed": "mesh.sdk.run",
    "run_pod": "mesh.sdk.run",
}

__all__ = ["Applied", "AsyncClient", "Change", "Client", "Context", "Ended", "ExecResult", "PodFailed", "run_pod"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
