"""Writable layers that a reboot left behind: libpod's database is on tmpfs and forgot them, the disk did not.

Rule: called only while no Podman uses the storage and no container can exist (its tmpfs was just mounted). A layer is
kept when an image stands on it; containers' layers are told by their name, "<container>-layer". The format is that of
containers/storage's overlay driver.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from nodeagent.wholefile import write_whole

FULL = 16 << 20  # bytes left
INDEXES = ("layers.json", "volatile-layers.json")


def remove_orphans(graph: Path) -> int:
    """Removes them from the storage at `graph`; returns how many there were."""
    needed = _needed_by_images(graph)
    removed = 0
    for index in (graph / "overlay-layers" / name for name in INDEXES):
        layers = _read(index)
        orphans = [layer for layer in layers if layer["id"] not in needed and _is_containers(layer)]
        if not orphans:
            continue
        for layer in orphans:
            _remove_files(graph, layer["id"])
        gone = {layer["id"] for layer in orphans}
        write_whole(index, json.dumps([layer for layer in layers if layer["id"] not in gone]).encode())
        removed += len(orphans)
    return removed


def writable(graph: Path) -> dict[str, Path]:
    """Where containers' own files lie, by container id."""
    indexes = (graph / "overlay-containers" / name for name in ("containers.json", "volatile-containers.json"))
    found: dict[str, Path] = {}
    for index in indexes:
        with contextlib.suppress(OSError, ValueError):  # Podman is just writing it
            found.update({c["id"]: graph / "overlay" / c["layer"] / "diff" for c in _read(index)})
    return found


def make_room(graph: Path, container_id: str) -> None:
    """On a full disk, empties the writable layer of a container that has ended and is to be removed: Podman, which
    writes its index of layers anew, can't remove it otherwise, and forgets the layer without removing it."""
    disk = os.statvfs(graph)
    layer = writable(graph).get(container_id)
    if layer is None or disk.f_bavail * disk.f_frsize >= FULL:
        return
    for path in layer.iterdir() if layer.is_dir() else ():
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_containers(layer: dict[str, Any]) -> bool:
    return any(name.endswith("-layer") for name in layer.get("names", ()))


def _needed_by_images(graph: Path) -> set[str]:
    parents = {
        layer["id"]: layer.get("parent", "")
        for name in INDEXES
        for layer in _read(graph / "overlay-layers" / name)
    }  # fmt: skip
    needed: set[str] = set()
    for image in _read(graph / "overlay-images" / "images.json"):
        for top in (image.get("layer", ""), *image.get("mapped-layers", ())):
            layer = top
            while layer and layer not in needed:
                needed.add(layer)
                layer = parents.get(layer, "")
    return needed


def _remove_files(graph: Path, layer_id: str) -> None:
    directory = graph / "overlay" / layer_id
    link = directory / "link"
    if link.exists():
        (graph / "overlay" / "l" / link.read_text().strip()).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    (graph / "overlay-layers" / f"{layer_id}.tar-split.gz").unlink(missing_ok=True)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists() or not path.read_text().strip():
        return []
    found = json.loads(path.read_text())
    return list(found) if found else []
