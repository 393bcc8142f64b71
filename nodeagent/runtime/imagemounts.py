"""Images as directories (I7): the layers of an image in Podman's storage, mounted read-only on top of each other.

Rule: nothing is remembered. A mount tells by its source which image it shows; whoever removes images asks here first.
The layout is that of containers/storage's overlay driver.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.runtime import syscalls
from nodeagent.runtime.port import RuntimeFailure

SOURCE = "mesh-image:"
FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
LONGEST = 4000  # bytes of options that the kernel takes in one page, with room to spare


def mounted() -> dict[str, str]:
    """The ids of the images that are mounted, by place."""
    ours = (m for m in syscalls.mounts() if m.kind == "overlay" and m.source.startswith(SOURCE))
    return {m.place: m.source.removeprefix(SOURCE) for m in ours}


def layers(driver: Mapping[str, Any]) -> list[Path]:
    """The directories of an image's layers, topmost first, from its inspect's GraphDriver."""
    if driver.get("Name") != "overlay":
        words = f"images are kept by Podman's driver {driver.get('Name')}: only those of overlay can be volumes"
        raise RuntimeFailure("FailedMount", words)
    data = driver["Data"]
    return [Path(path) for path in (data["UpperDir"], *(data.get("LowerDir") or "").split(":")) if path]


def mount(image_id: str, found: list[Path], target: Path) -> None:
    """Mounts the layers on `target`, and makes it; where it is mounted already nothing happens. Blocking; OSError."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if str(target.resolve()) in mounted():
        return
    empty = target.parent / ".none"  # the kernel wants two layers at least
    empty.mkdir(mode=0o700, exist_ok=True)
    options = "lowerdir=" + ":".join(str(path) for path in (*map(_short, found), empty))
    if len(options) > LONGEST:
        raise RuntimeFailure("FailedMount", f"an image of {len(found)} layers is too deep for a volume")
    syscalls.mount(SOURCE + image_id, str(target), "overlay", FLAGS, options)


def _short(layer: Path) -> Path:
    """The storage's own short name for a layer's directory."""
    try:
        name = (layer.parent / "link").read_text().strip()
    except FileNotFoundError:
        return layer
    return layer.parent.parent / "l" / name
