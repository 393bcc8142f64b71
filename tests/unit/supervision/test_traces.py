"""The search for a word on disks: it finds it in every shape and place, and says what it left out."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from mesh.supervision import traces
from mesh.supervision.traces import Trace, search, search_text, shapes

WORD = "cänary-7f3a/+= &sings%"
RAW = WORD.encode()


@pytest.mark.parametrize(
    "text",
    [
        RAW,
        RAW.hex().encode(),
        RAW.hex().upper().encode(),
        quote(WORD, safe="").encode(),
        quote(WORD, safe="").lower().encode(),
        json.dumps({"a": WORD}).encode(),
        WORD.encode("utf-16-le"),
        WORD.encode("utf-16"),
        WORD.encode("utf-16-be"),
        *(base64.b64encode(b"x" * n + RAW + b"y" * m) for n in range(4) for m in range(4)),
        *(base64.urlsafe_b64encode(b"x" * n + RAW) for n in range(3)),
    ],
)
def test_every_shape_is_found_in_the_midst_of_others(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "file"
    file.write_bytes(b"before " + text + b" after")
    assert {t.place for t in search([tmp_path], [WORD], {}).traces} == {str(file)}


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(RAW[:-1] + b"no" + base64.b64encode(RAW[:-4]))
    seen = search([tmp_path, tmp_path / "none"], [WORD], {})
    assert seen.traces == []
    assert seen.files == {str(tmp_path): 1}
    assert seen.left_out == {str(tmp_path / "none"): "is not there"}


def test_a_word_across_two_pieces_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "PIECE", 64)
    for offset in range(30, 70):
        (tmp_path / "file").write_bytes(b"x" * offset + RAW + b"y" * 100)
        assert search([tmp_path], [WORD], {}).traces == [Trace(str(tmp_path / "file"), "as it is")], offset


def test_memory_is_left_out_and_named_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("disk", "memory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(RAW)
    (tmp_path / "link").symlink_to("/etc")
    seen = search([tmp_path], [WORD], {"/": "ext4", str(tmp_path / "memory"): "tmpfs"})
    assert [t.place for t in seen.traces] == [str(tmp_path / "disk" / "file")]
    assert seen.left_out == {str(tmp_path / "memory"): "is tmpfs, and no disk"}
    inside = search([tmp_path / "memory"], [WORD], {"/": "ext4", str(tmp_path / "memory"): "tmpfs"})
    assert (inside.traces, inside.files) == ([], {})


def test_what_a_program_says_is_searched_too() -> None:
    assert search_text("inspect", base64.b64encode(RAW), [WORD]).traces == [Trace("inspect", "base64, at 0")]
    assert search_text("inspect", b"nothing", [WORD]).traces == []


def test_shapes_are_long_enough_to_mean_something() -> None:
    assert all(len(shape) >= 12 for shape in shapes("canary-0123456789").values())
