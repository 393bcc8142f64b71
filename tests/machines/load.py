"""Asks an address again and again, each time on a connection of its own, until it is ended; a file says what it saw.

    load.py HOST PORT FILE

Rule: runs on a bare host's own Python. A request fails when it is not answered with 200 within ten seconds.
"""

import http.client
import json
import signal
import sys
import time
from pathlib import Path


def main(host: str, port: int, path: Path) -> None:
    """Until SIGTERM."""
    asked, slowest, failures, going = 0, 0.0, [], [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    while going:
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request("GET", "/index.html")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failures.append(f"status {answer.status}")
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
        asked += 1
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.02)
    path.write_text(json.dumps({"asked": asked, "slowest": round(slowest, 3), "failures": failures}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
