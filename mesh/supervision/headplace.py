"""Runs before Ray on every host, as root: a control host whose Ray's head is elsewhere by now finds that out here.

    python -m mesh.supervision.headplace ROOT

Rules: what etcd holds of the head's place is right, whatever this host was told before it was lost. Without etcd nobody
leads, so Ray waits for it. A host that learns something writes it down and ends with 1: its supervisor starts Ray anew,
by the new files. Where the store is a file there is nothing to ask.
"""

import asyncio
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.errors import MeshError
from mesh.supervision.layout import Layout

if TYPE_CHECKING:
    from mesh.config import Etcd
    from mesh.supervision.setup import Told


def main() -> int:
    """The command line."""
    layout = Layout(Path(sys.argv[1]))
    try:
        words = found(layout, _asked)
    except MeshError as error:
        words = f"cannot learn where Ray's head is: {error.message}"
    if words:
        print(words, flush=True)
    return 1 if words else 0


def found(layout: Layout, ask: "Callable[[Etcd], str]") -> str:
    """What is another way than this host knew, in words, once it is written down; empty: all is as it knows."""
    if not _shares(layout):
        return ""
    from mesh.config import parse  # noqa: PLC0415 - most hosts have no need of it, and Ray waits
    from mesh.supervision.setup import Told  # noqa: PLC0415

    told = Told.read(layout)
    head = ask(parse(layout.meshd_config.read_text()).etcd)
    if told is None or not head or head == _known(told):
        return ""
    _write(layout, told, head)
    return f"Ray's head is at {head} by now, no longer at {_known(told)}: Ray is started anew"


def _shares(layout: Layout) -> bool:
    """Whether this host has a meshd whose store is in etcd."""
    try:
        return bool(tomllib.loads(layout.meshd_config.read_text()).get("etcd", {}).get("endpoints"))
    except (OSError, ValueError, AttributeError):
        return False  # meshd says what is wrong with it


def _known(told: "Told") -> str:
    from mesh.fleet.ray_names import GCS_PORT  # noqa: PLC0415

    return told.join or f"{told.node_ip}:{GCS_PORT}"


def _asked(etcd: "Etcd") -> str:
    from mesh.store import copying, etcdplace  # noqa: PLC0415
    from mesh.store.etcdclient import address_of  # noqa: PLC0415
    from mesh.store.etcdlayout import Layout as Keys  # noqa: PLC0415

    async def ask() -> str:
        async with copying.reaching(address_of(etcd)) as client:
            return await etcdplace.place_told(client, Keys(etcd.prefix))

    return asyncio.run(ask())


def _write(layout: Layout, told: "Told", head: str) -> None:
    """As `mesh control head` does, but for starting anything."""
    from mesh.supervision import control, up  # noqa: PLC0415
    from mesh.supervision.programs import programs  # noqa: PLC0415

    told = control.placed(told, head.rpartition(":")[0])
    host = told.host(layout)
    told.write(layout)
    up.write_files(host)
    up.supervisor_of(layout).install(host, programs(host))


if __name__ == "__main__":
    sys.exit(main())
