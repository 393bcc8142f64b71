"""What the agent's log shows of an error."""

import json

import pytest
import structlog

from nodeagent.alone import log_lines


def test_a_traceback_shows_no_values_of_variables(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        log_lines()
        _fail("hunter" + "2")
    finally:
        structlog.configure(**before)
    said = capsys.readouterr().err
    line = json.loads(said)
    assert line["event"] == "pod_failed"
    assert (line["exception"][0]["exc_type"], line["exception"][0]["frames"][-1]["name"]) == ("KeyError", "_fail")
    assert "hunter2" not in said


def _fail(password: str) -> None:
    try:
        {}[len(password)]
    except KeyError:
        structlog.get_logger().exception("pod_failed")
