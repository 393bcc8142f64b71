"""Writable layers that a reboot left behind: libpod's database is on tmpfs and forgot them, the disk did not.

Rule: called only while no Podman uses the storage and no container can exist (its tmpfs was just mounted). A layer is
kept when an image stands on it; containers' layers are told by their name, "<container>-layer". The format is that of
containers/storage's overlay driver.
"""

import json
import shutil
from pathlib import Path
from typing import Any

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
        temporary = index.with_suffix(".new")
        temporary.write_text(json.dumps([layer for layer in layers if layer["id"] not in gone]))
        temporary.chmod(0o600)
        temporary.replace(index)
        removed += len(orphans)
    return removed


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
