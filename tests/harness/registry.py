"""A container registry of one image, on loopback: enough of the distribution API to pull from, with a password."""

import base64
import contextlib
import gzip
import hashlib
import json
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mesh.pki import Pair

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Registry:
    """Where it listens: "127.0.0.1:41234"; it has `hello:1` for everyone and `private:1` for user and password."""

    address: str
    user: str = "ada"
    password: str = "engine"


@contextlib.contextmanager
def registry(
    root_file_system: bytes, port: int = 0, tls: Pair | None = None, go_on: threading.Event | None = None
) -> Iterator[Registry]:
    """Serves an image made of the tar given; port 0 takes a free one; with a certificate it speaks HTTPS. Its layer
    comes slowly until `go_on` is set."""
    handler = type("Handler", (_Handler,), {"blobs": _image(root_file_system), "go_on": go_on})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    if tls is not None:
        server.socket = _secured(server.socket, tls)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Registry(f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _secured(listener: socket.socket, pair: Pair) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.key + pair.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context.wrap_socket(listener, server_side=True)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _image(tar: bytes) -> dict[str, tuple[str, bytes]]:
    layer = gzip.compress(tar, 1, mtime=0)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sleep", "100000"], "User": "1000"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]},
    }).encode()  # fmt: skip
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(config), "digest": _digest(config)},
        "layers": [{"mediaType": LAYER, "size": len(layer), "digest": _digest(layer)}],
    }).encode()  # fmt: skip
    blobs = {_digest(data): (kind, data) for kind, data in ((MANIFEST, manifest), (CONFIG, config), (LAYER, layer))}
    return {**blobs, "1": (MANIFEST, manifest)}


class _Handler(BaseHTTPRequestHandler):
    blobs: dict[str, tuple[str, bytes]]
    go_on: threading.Event | None
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        known = self.headers.get("Authorization") == _basic(Registry(""))
        if parts == ["v2"]:  # clients learn here how to say who they are, if they are asked
            self._answer(200 if known else 401, "application/json", b"{}")
        elif parts[1] == "private" and not known:
            self._answer(401, "application/json", b"{}")
        elif parts[1] in ("hello", "private") and parts[-1] in self.blobs:
            self._answer(200, *self.blobs[parts[-1]])
        else:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            self._answer(404, "application/json", json.dumps(error).encode())

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", _digest(data))
        self.end_headers()
        if self.command == "GET":
            piece = len(data) // 128 + 1 if kind == LAYER and self.go_on else len(data)
            for at in range(0, len(data), piece):
                self.wfile.write(data[at : at + piece])
                if self.go_on:
                    self.go_on.wait(0.2)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Says nothing."""


def _basic(of: Registry) -> str:
    return "Basic " + base64.b64encode(f"{of.user}:{of.password}".encode()).decode()


def main(port: str, root_file_system: str) -> None:
    """Serves until it is ended: `python -m tests.harness.registry PORT TAR`."""
    with registry(Path(root_file_system).read_bytes(), int(port)):
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
