"""Lines of several logs as one: order, patience, colours."""

from mesh.cli.logmerge import PATIENCE, Merge, Source, read

A, B = Source("a", "main"), Source("b", "main")


def line(second: str, text: str) -> bytes:
    return f"2026-01-31T12:00:{second}Z {text}".encode()


def test_lines_come_in_the_order_of_their_times_and_then_of_their_sources() -> None:
    merge = Merge()
    merge.know(A)
    for source, second, text in ((B, "01", "b1"), (B, "03.5", "b3"), (A, "01", "a1"), (A, "02", "a2")):
        merge.put(source, read(line(second, text), 0), 0.0)
    assert [found.text for _, found in merge.rest()] == [b"a1", b"b1", b"a2", b"b3"]


def test_a_line_waits_for_older_ones_of_other_logs_and_no_longer() -> None:
    merge = Merge()
    merge.put(A, read(line("02", "late"), 0), 10.0)
    assert list(merge.ready(10.0)) == []
    merge.put(B, read(line("01", "early"), 0), 10.1)
    assert [found.text for _, found in merge.ready(10.0 + PATIENCE)] == [b"early", b"late"]
    assert not merge


def test_a_line_without_a_time_belongs_to_the_one_before() -> None:
    first = read(line("02", "words"), 0)
    assert (first.text, first.stamp) == (b"words", b"2026-01-31T12:00:02Z ")
    second = read(b"no time at all", first.at)
    assert (second.at, second.stamp, second.text) == (first.at, b"", b"no time at all")


def test_each_pod_has_a_colour_of_its_own_that_stays() -> None:
    assert A.prefix(False) == b"[pod/a/main] "
    assert A.prefix(True) == Source("a", "main").prefix(True) != B.prefix(True).replace(b"/b/", b"/a/")
    assert A.prefix(True).endswith(b"\x1b[0m ")
