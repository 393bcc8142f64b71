"""Debian's docker-registry, unpacked by tools/unpack.sh: the real thing, on loopback, with or without password and TLS.

with debian_registry(tmp_path, password=True, tls=pair) as registry:
    registry.stop(); registry.start()   # the same port, the same images
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mesh.pki import Pair
from tests.harness.ports import free_ports
from tests.harness.waiting import wait_for_text

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "ada", "let-me-in"
HASHED = "$2b$05$abcdefghijklmnopqrstuu3Jd./u/rH1RxB6auX5v7gLP6uWhKCgG"  # bcrypt, of that password
CONFIG = """version: 0.1
log: {{accesslog: {{disabled: true}}, level: info}}
storage: {{filesystem: {{rootdirectory: {images}}}}}
http:
  addr: {address}
{more}"""
DEADLINE = 30.0


@dataclass(slots=True)
class DebianRegistry:
    """Where it listens: "127.0.0.1:41234"."""

    address: str
    directory: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None)
    starts: int = 0

    def start(self) -> None:
        """Returns once it listens."""
        log = self.directory / f"registry-{self.starts}.log"
        self.starts += 1
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [program(), "serve", str(self.directory / "config.yml")], stdout=file, stderr=file,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_for_text(log, f"listening on {self.address}", DEADLINE)

    def stop(self) -> None:
        """Ends it; its images stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def program() -> Path:
    """The program, unpacked if it is not there yet."""
    into = Path(sys.prefix) / "registry"
    unpack = [ROOT / "tools" / "unpack.sh", "docker-registry", "docker-registry", into]
    subprocess.run(unpack, check=True, timeout=110, stdout=subprocess.DEVNULL)
    return into / "usr" / "bin" / "docker-registry"


@contextlib.contextmanager
def debian_registry(directory: Path, *, password: bool = False, tls: Pair | None = None) -> Iterator[DebianRegistry]:
    """An empty one, whose files are below `directory`."""
    program()
    more = ""
    if tls is not None:
        (directory / "cert.pem").write_bytes(tls.certificate)
        (directory / "key.pem").write_bytes(tls.key)
        more += f"  tls: {{certificate: {directory}/cert.pem, key: {directory}/key.pem}}\n"
    if password:
        (directory / "users").write_text(f"{USER}:{HASHED}\n")
        more += f"auth: {{htpasswd: {{realm: mesh, path: {directory}/users}}}}\n"
    address = f"127.0.0.1:{free_ports(1)[0]}"
    text = CONFIG.format(images=directory / "images", address=address, more=more)
    (directory / "config.yml").write_text(text)
    registry = DebianRegistry(address, directory)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
