"""What a page of the console costs meshd: milliseconds for each, with so many pods in the mesh.

    python benchmarks/console.py [--pods 10000]

Pages are made as the console makes them, from a View; how a browser fares: `python -m tests.browser.run DIR 10000`.
"""

import argparse
import time

from mesh.access.who import Who
from mesh.console import flowpage, podpage
from mesh.console.pages import PAGES
from mesh.console.reader import Known, Reader
from mesh.pki import ADMINS
from mesh.store.port import Snapshot
from mesh.view import View
from tests.harness.crowd import NOW, objects

TIMES = 5


def measure(count: int) -> None:
    """Prints the figures."""
    view = View(Snapshot(1, list(objects(count))))
    who = Who("admin", (ADMINS,))
    some = view.pods()[count // 2]
    made = {path: lambda reader, page=page: page(reader, {}) for path, page in PAGES.items()}
    made["/pods?q=zz0001"] = lambda reader: PAGES["/pods"](reader, {"q": "zz0001"})
    made["/pods?page=99"] = lambda reader: PAGES["/pods"](reader, {"page": "99"})
    made["/pods/NAMESPACE/NAME"] = lambda reader: podpage.page(reader, some, "", "main")
    made["/flows"] = lambda reader: flowpage.page(reader, {})
    known = Known()
    for path, page in made.items():
        times = []
        for _ in range(TIMES):
            began = time.process_time()
            size = len(page(Reader(view, who, NOW, pods=known)))
            times.append((time.process_time() - began) * 1000)
        print(f"{path:24} {times[0]:7.1f} ms first, {min(times[1:]):7.1f} ms again, {size / 1000:6.1f} kB")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pods", type=int, default=10_000)
    measure(parser.parse_args().pods)


if __name__ == "__main__":
    main()
