"""What is read from the lines of a pull."""

from nodeagent.runtime.images import follow_pull
from nodeagent.runtime.port import Progress


def downloading(layer: str, current: int, total: int) -> dict[str, object]:
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": total}}


def test_how_far_it_is() -> None:
    told: list[Progress] = []
    lines = [
        {"status": "Already exists", "progressDetail": {}, "id": "a"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "b"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "c"},
        downloading("b", 10, 100),
        downloading("c", 5, 50),
        downloading("b", 90, 100),
        {"status": "Download complete", "progressDetail": {}, "id": "b"},
        downloading("c", 25, 50),
    ]
    assert follow_pull(lines, told.append) == ""
    assert told == [Progress(10, 100, 3, 1), Progress(15, 150, 3, 1), Progress(95, 150, 3, 1), Progress(125, 150, 3, 2)]


def test_an_error_is_the_last_word() -> None:
    told: list[Progress] = []
    lines = [downloading("a", 1, 2), {"progressDetail": {}, "errorDetail": {"message": "no"}, "error": "no"}]
    assert follow_pull(lines, told.append) == "no"
    assert len(told) == 1
