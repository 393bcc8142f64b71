"""What load balancers are told of the proxy (X20)."""

import json

import pytest

from netproxy.health import STALE, Standing, standing_answer

WELL = Standing(True, False, 0.0, 1000.0)


@pytest.mark.parametrize(
    ("standing", "healthz", "livez"),
    [(WELL, 200, 200), (WELL._replace(served=False), 503, 503), (WELL._replace(leaving=True), 503, 200),
     (WELL._replace(unserved_since=1000.0 - STALE), 200, 200),
     (WELL._replace(unserved_since=999.0 - STALE), 503, 503)],
)  # fmt: skip
def test_it_is_well_while_what_was_ordered_is_served(standing: Standing, healthz: int, livez: int) -> None:
    for path, status in (("/healthz", healthz), ("/livez", livez)):
        head, _, body = standing_answer(path, standing).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), path
        assert json.loads(body)["nodeEligible"] is not standing.leaving
        assert b"Content-Length: %d\r\n" % len(body) in head
    assert standing_answer("/", standing).startswith(b"HTTP/1.1 404 ")
