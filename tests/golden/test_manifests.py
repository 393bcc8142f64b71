"""What `get -o yaml` prints of a manifest, as read and as admitted, letter by letter.

To accept a change, write the files anew and read the difference: `python -m tests.golden.test_manifests`.
"""

from pathlib import Path

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.model import manifest
from mesh.model.kinds import kind_of
from mesh.store.port import Snapshot
from mesh.view import View
from tests.harness import objects

HERE = Path(__file__).parent / "manifests"
CASES = sorted(p for p in HERE.glob("*.yaml") if p.suffixes == [".yaml"])


def printed(path: Path) -> dict[str, str]:
    """The expected files of a manifest: ".read" as it is read, ".admitted" as it is stored, ".json" as JSON."""
    loaded = manifest.load(path.read_text(), path.name)
    (obj,) = loaded.objects
    warnings = "".join(f"# {warning}\n" for warning in loaded.warnings)
    result = {".read": warnings + manifest.to_yaml(obj), ".json": manifest.to_json(obj) + "\n"}
    if kind_of(obj).served:
        view = View(Snapshot(1, objects.namespaces()))
        stamp = Stamp(1_769_860_800 * 10**9, "11111111-2222-3333-4444-555555555555", "abcde")
        admitted = admit.apply(obj, None, view, stamp)
        warnings = "".join(f"# {warning}\n" for warning in admitted.warnings)
        result[".admitted"] = warnings + manifest.to_yaml(admitted.object)
    return result


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_prints(path: Path) -> None:
    for suffix, text in printed(path).items():
        assert text == path.with_suffix(f".yaml{suffix}").read_text(), suffix


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_what_is_printed_is_read_as_the_same(path: Path) -> None:
    (obj,) = manifest.load(path.read_text(), path.name).objects
    for suffix in (".read", ".json"):
        text = path.with_suffix(f".yaml{suffix}").read_text()
        loaded = manifest.load(text, path.name)
        assert loaded.objects == (obj,)
        assert loaded.warnings == ()


if __name__ == "__main__":
    for case in CASES:
        for suffix, text in printed(case).items():
            case.with_suffix(f".yaml{suffix}").write_text(text)
