"""Runs inside `ray start` (RAY_START_HOOK): makes Ray slim, clears what a killed Ray left, and stays to watch.

Rules: touches nothing but Ray's own temporary directory, and there only names that Ray itself made. Leans on private
parts of Ray in three places, each marked; Ray's version is pinned, tests/host/test_ray.py tells when one moves.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from mesh.supervision import ray_watch


def slim(params: Any, head: bool) -> None:
    """Ray calls this with its RayParams before it starts a process."""
    from ray._private import node  # noqa: PLC0415 - we are inside Ray: this module must be importable without it

    params.ray_client_server_port = None
    params.no_monitor = True
    params.include_log_monitor = False
    # Private: there is no option against dashboard.py, which looks for cloud metadata services and usage statistics.
    node.Node.start_api_server = lambda *_, **__: None  # type: ignore[method-assign]  # on purpose
    _stay_as_watcher(node.Node)
    clear(Path(params.temp_dir), os.environ["RAY_gcs_storage_path"] if head else "")  # noqa: SIM112 - Ray's spelling


def clear(tmp: Path, storage: str) -> None:
    """Removes the address file, sockets and sessions of a Ray that is gone.

    The session of the tables in `storage` keeps its logs: it goes on.
    """
    (tmp / "ray_current_cluster").unlink(missing_ok=True)
    marker = Path(storage) / "session_name" if storage else None
    current = marker.read_text().strip() if marker and marker.is_file() else ""
    for session in tmp.glob("session_2*"):
        if session.is_symlink() or not session.is_dir():
            continue
        shutil.rmtree(session / "sockets" if session.name == current else session, ignore_errors=True)


def _stay_as_watcher(node_class: Any) -> None:
    """Once everything is started, this process (60 MB of imports) becomes a small one that waits for its children.

    Ray's own --block looks once a second, and takes a raylet that exits with 0 for well. The children die with this
    process (PR_SET_PDEATHSIG, by Ray's own doing), so whoever kills it, the supervisor starts everything afresh.
    """
    start = node_class.__init__  # Private: nothing public runs between the start and --block's loop.

    def start_and_watch(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        print("ray started", flush=True)
        # Private: the interpreter's path is ours; -I -S keeps the watcher at a few megabytes.
        os.execv(sys.executable, [sys.executable, "-I", "-S", ray_watch.__file__])  # noqa: S606 - a fixed argv

    node_class.__init__ = start_and_watch
