"""Which Ray is joined: the mesh's own, which proves itself; any other is refused before a word is said to it."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh import pki, raytls
from mesh.errors import Forbidden, Unavailable
from mesh.fleet import rayhead
from mesh.fleet.bridge import RayAddress, RayHosts
from mesh.supervision import setup, up
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host
from tests.harness.seam import SeamPki


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with a certificate for its mesh's Ray."""
    made = Host(Layout(tmp_path / "root"), "host1", "127.0.0.1", ("127.0.0.1:7443",))
    setup.directories(made.layout)
    setup.ray_certificate(made, int(time.time()))
    return made


@contextmanager
def listening(tls: ssl.SSLContext | None) -> Iterator[tuple[str, list[bytes]]]:
    """Something that listens like a Ray, and what it was told."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    if tls is None:
                        heard.append(connection.recv(1))
                        connection.sendall(b"\0\0\0\x04\0\0\0\0\0")  # what HTTP/2 without TLS begins with
                    else:
                        with tls.wrap_socket(connection, server_side=True) as secured:
                            heard.append(secured.recv(1))
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        thread.join()


def context(tls: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tls / "node.crt", tls / "node.key")
    return made


def foreign(directory: Path, host: Host) -> ssl.SSLContext:
    """Of a Ray with TLS that is somebody else's."""
    now = int(time.time())
    authority, wish = raytls.made(now), pki.wish()
    (directory / "node.crt").write_bytes(authority.certify("host1", ("127.0.0.1",), wish.certificate, now))
    (directory / "node.key").write_bytes(wish.key)
    return context(directory)


def test_the_meshs_own_ray_is_joined(host: Host) -> None:
    with listening(context(host.layout.ray_tls)) as (address, heard):
        rayhead.prove(address, host.layout.ray_tls, 10)
    assert not any(heard)


def test_a_ray_without_tls_is_refused_with_the_reason(host: Host) -> None:
    with listening(None) as (address, _), pytest.raises(Forbidden, match=r"not speak TLS.*runs code as root"):
        rayhead.prove(address, host.layout.ray_tls, 10)


def test_a_ray_of_others_is_refused_with_the_reason(host: Host, tmp_path: Path) -> None:
    why = r"not this mesh's own.*does not count.*joins none but its own"
    with listening(foreign(tmp_path, host)) as (address, heard), pytest.raises(Forbidden, match=why):
        rayhead.prove(address, host.layout.ray_tls, 10)
    assert not heard


def test_mesh_up_does_not_start_a_host_of_somebody_elses_ray(host: Host, tmp_path: Path) -> None:
    with listening(foreign(tmp_path, host)) as (address, _):
        joined = Host(host.layout, "host1", "127.0.0.1", (), address, has_meshd=False)
        with pytest.raises(Forbidden, match="refused: the Ray at"):
            up.require_head(joined)


def test_a_control_host_issues_what_it_lacks_and_tells_what_reads_it(host: Host) -> None:
    certificate = host.layout.ray_tls / "node.crt"
    shown = context(host.layout.ray_tls)
    for written in (frozenset(), {certificate}):
        if written:
            certificate.unlink()
        with listening(shown) as (address, _):
            assert up.require_head(Host(host.layout, "host1", "127.0.0.1", (), address, has_meshd=True)) == written


def test_a_ray_that_is_away_is_no_foreign_one(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(Unavailable, match="nothing answers"):
        rayhead.prove(address, host.layout.ray_tls, 10)
    with pytest.raises(Unavailable, match="cannot reach Ray's head"):
        up.require_head(Host(host.layout, "host1", "127.0.0.1", (), address, has_meshd=False), 1.0)


async def test_meshd_does_not_speak_with_somebody_elses_ray(host: Host, tmp_path: Path) -> None:
    layout = host.layout
    with listening(foreign(tmp_path, host)) as (address, _):
        told = RayAddress(address, "127.0.0.1", layout.ray_token, layout.ray_home, layout.ray_tls)
        hosts = RayHosts(told, SeamPki.made().trust)
        running = asyncio.create_task(hosts.run())
        async with asyncio.timeout(30):
            while not hosts.state.startswith("refused: the Ray at"):
                await hosts.changed()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not hosts.agents()
