"""Fuzzes one target, guided by coverage: `python -m tests.fuzz.run TARGET SECONDS [CORPUS]`.

It ends with 0 when nothing was found. A crash, an input that takes over 5 s or 500 MB more than there were at the start
end it at once with the input as a file beside the corpus. Without atheris (which has no build for every Python) inputs
are varied blindly.
"""

import random
import resource
import sys
import tempfile
import time
from pathlib import Path

SLOWEST = 5  # seconds of one input
MEGABYTES = 500  # beside what is held already
LONGEST = 4096  # bytes of an input


def main(name: str, seconds: int, corpus: Path) -> None:
    """Until the time is up, or something is found."""
    try:
        import atheris  # noqa: PLC0415 - where there is one
    except ImportError:
        _blindly(name, seconds)
        return
    watched = ["mesh", "netproxy", *(["dns"] if name == "dns" else [])]
    with atheris.instrument_imports(include=watched):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - what is imported here is watched
    target, seeds = TARGETS[name]
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # a process inherits the peak of who started it
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={held + MEGABYTES}",
         f"-max_len={LONGEST}", f"-artifact_prefix={corpus}/found-", "-print_final_stats=1", str(corpus)],
        target,
    )  # fmt: skip
    atheris.Fuzz()


def _blindly(name: str, seconds: int) -> None:
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - only now is it known how

    target, seeds = TARGETS[name]
    chance, until = random.Random(name), time.monotonic() + seconds
    while time.monotonic() < until:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        began = time.monotonic()
        target(bytes(data))
        if time.monotonic() - began > SLOWEST:
            raise AssertionError(f"{bytes(data)!r} takes too long")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3] if len(sys.argv) > 3 else scratch))
