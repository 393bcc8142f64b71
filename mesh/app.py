"""`meshd --config FILE`: reads files, opens the store, runs the control service until it is told to end.

Rule: it only wires. What is wrong with the machine (a file, a port, the store) is one sentence and exit code 1; a bug
is a traceback in the log and exit code 70. SIGTERM and SIGINT end it in good order with exit code 0.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import structlog
import uvloop

from mesh import pki
from mesh.config import Log, MeshdConfig, parse
from mesh.errors import MeshError, Unavailable
from mesh.exposition.web import Files
from mesh.files import read_file
from mesh.fleet.bridge import RayAddress, RayHosts
from mesh.fleet.port import AgentPort
from mesh.fleet.witness import Handshakes
from mesh.following import leading
from mesh.guard import guard
from mesh.handed import handed
from mesh.leader import Candidate, Election
from mesh.meshd import Meshd, Settings
from mesh.rpc import handshakes
from mesh.rpc.audit import AuditFile
from mesh.rpc.handshakes import watched
from mesh.rpc.rayaccess import RayAccess
from mesh.rpc.tls import Tls
from mesh.sessions import Trust
from mesh.sharing import rotation, take_authority, take_keys, with_shared_authority
from mesh.store.copying import read_etcd, write_backup
from mesh.store.encrypted import EncryptedCodec
from mesh.store.etcd import EtcdStore
from mesh.store.etcdclient import address_of
from mesh.store.etcdplace import place_told
from mesh.store.history import Retention
from mesh.store.keyring import Keyring
from mesh.store.keysource import CredentialKeys, FileKeys, KeySource, is_under_passphrase
from mesh.store.sqlite import SqliteStore
from mesh.supervised import notify, say_alive
from mesh.supervision.programs import TUNNEL_PORT
from mesh.tracing.walks import Walks
from mesh.unlock import unlocked

_log = structlog.get_logger("mesh.app")


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code."""
    parser = argparse.ArgumentParser(prog="meshd", description="The control service of the mesh.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="meshd.toml")
    path: Path = parser.parse_args(argv).config
    os.umask(0o077)
    handshakes.apart()
    try:
        config = parse(read_file(path).decode())
        _log_as(config.log)
        for trouble in guard():
            _log.warning("memory_may_leak", message=trouble)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_told(config))
    except BaseException as error:  # noqa: BLE001 - the end of the program: every way out gets its exit code
        return _explain(error)
    return 0


async def _until_told(config: MeshdConfig) -> None:
    serving = asyncio.ensure_future(serve(config))
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    alive = asyncio.ensure_future(say_alive(os.environ))
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    alive.cancel()
    if not serving.done():
        _log.info("stopping")
        notify("STOPPING=1")
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def serve(config: MeshdConfig) -> None:
    """Runs meshd until cancelled. Raises Unavailable, Invalid: what is wrong with a file, a port or the store."""
    tls = Tls(pki.Pair(read_file(config.pki.certificate), read_file(handed(config.pki.key))), read_file(config.pki.ca))
    pki.expires(tls.server.certificate)  # raises for what is none
    source, ring = await _keys(config)
    await take_keys(config, source, ring, tls)
    audit = _audit(config)
    store = await _open(config, EncryptedCodec(ring))
    settings = replace(_settings(config, store, tls), audit=audit, rotation=rotation(source, ring, store, tls))
    try:
        async with AsyncExitStack() as stack:
            if isinstance(store, EtcdStore):
                etcd = config.etcd
                election = Election(store, Candidate(etcd.name, etcd.advertise), etcd.lease_seconds)
                settings = with_shared_authority(settings, store, tls)
                settings = await stack.enter_async_context(leading(store, election, tls, settings))
                await take_keys(config, source, ring, tls)
                await take_authority(settings, store, tls)
                if place := await place_told(store.client, store.layout):  # an operator's word, newer than our file
                    config = replace(config, ray=replace(config.ray, address=place))
                    settings = replace(settings, ray=_ray(config))
            await _run(config, store, tls, settings, audit)
    finally:
        await store.close()
        audit.close()


@asynccontextmanager
async def traced(config: MeshdConfig, environment: Mapping[str, str]) -> AsyncIterator[Walks | None]:
    """Traces, where they are configured; of OpenTelemetry nothing is loaded where they are not."""
    endpoint = config.otlp_endpoint or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if not endpoint:
        yield None
        return
    from mesh.tracing.otlp import Exporter  # noqa: PLC0415 - see above

    exporter = Exporter(endpoint)
    try:
        yield Walks(time.time_ns, exporter.emit)
    finally:
        await exporter.close()


async def _run(
    config: MeshdConfig, store: SqliteStore | EtcdStore, tls: Tls, settings: Settings, audit: AuditFile
) -> None:
    hosts = _hosts(config, tls)
    async with traced(config, os.environ) as walks, watched(audit, time.time_ns), asyncio.TaskGroup() as tasks:
        meshd = Meshd(store, hosts, tls, replace(settings, walks=walks))
        tasks.create_task(hosts.run(), name="hosts")
        tasks.create_task(meshd.run(), name="meshd")
        await meshd.serving.wait()
        notify("READY=1")


async def _open(config: MeshdConfig, codec: EncryptedCodec) -> SqliteStore | EtcdStore:
    retention = Retention(events=config.history_events)
    if config.etcd.endpoints:
        return await EtcdStore.open(address_of(config.etcd), codec, config.etcd.prefix, retention)
    return await SqliteStore.open(config.store_file, codec, retention)


class NoHosts:
    """The Hosts of a meshd that was told of no Ray: it keeps objects and runs none."""

    state = "not configured: meshd.toml names no ray.address"

    def agents(self) -> dict[str, AgentPort]:
        """None."""
        return {}

    async def changed(self) -> None:
        """Never."""
        await asyncio.Future()

    async def run(self) -> None:
        """Nothing to keep."""


async def _keys(config: MeshdConfig) -> tuple[KeySource, Keyring]:
    source: KeySource
    if config.key_credential:
        source = CredentialKeys(config.key_credential)
        return source, source.load()
    if is_under_passphrase(config.key_file):
        return await unlocked(config.key_file, config.data_dir / "unlock.sock")
    source = FileKeys(config.key_file)
    return source, source.load()


def _audit(config: MeshdConfig) -> AuditFile:
    try:
        return AuditFile(config.audit_file, config.audit.max_bytes, config.audit.keep)
    except OSError as error:
        raise Unavailable(f"cannot write {config.audit_file}: {error.strerror}") from error


def _hosts(config: MeshdConfig, tls: Tls) -> RayHosts | NoHosts:
    ray = config.ray
    if not ray.address or ray.token_file is None or ray.home is None or ray.tls_dir is None:
        return NoHosts()
    address = RayAddress(ray.address, ray.node_ip, ray.token_file, ray.home, ray.tls_dir)
    return RayHosts(address, Trust(lambda: tls.ca, lambda: tls.server))


def _copying(store: SqliteStore | EtcdStore) -> Callable[[Path], Awaitable[None]]:
    """What writes a backup of the store, while it is in use."""
    if isinstance(store, SqliteStore):
        return store.backup
    client, layout = store.client, store.layout

    async def copy(path: Path) -> None:
        held = await read_etcd(client, layout)
        await asyncio.to_thread(write_backup, held, path)

    return copy


def _settings(config: MeshdConfig, store: SqliteStore | EtcdStore, tls: Tls) -> Settings:
    return Settings(
        listen=config.listen,
        listen_tokens=config.listen_tokens,
        limits=config.limits,
        ray=_ray(config),
        address=config.ray.node_ip,
        authority=config.pki.authority,
        metrics_listen=config.metrics_listen,
        console_listen=config.console_listen,
        exemplars=config.exemplars,
        files=Files(config.pki.ca, config.pki.certificate, handed(config.pki.key)),
        network=config.network,
        silence=config.node_silence_seconds,
        wait=config.node_silence_seconds / 2,
        eviction=config.pod_eviction_seconds,
        servers=config.etcd.servers,
        witness=Handshakes(lambda: tls.ca, TUNNEL_PORT),
        spared=config.silent_but_alive_seconds,
        bookmark=config.bookmark_seconds,
        event_ttl=config.event_ttl_seconds,
        autoscale=config.autoscale_seconds,
        store_name=f"etcd {', '.join(config.etcd.endpoints)}"
        if config.etcd.endpoints
        else f"sqlite {config.store_file}",
        scratch=config.data_dir,
        copy_store=_copying(store),
    )


def _ray(config: MeshdConfig) -> RayAccess | None:
    ray = config.ray
    if not ray.address or ray.token_file is None or ray.tls_dir is None:
        return None
    return RayAccess(ray.address, ray.token_file, ray.tls_dir)


def _log_as(log: Log) -> None:
    """Logs to stderr; a traceback never shows the values of variables, which may be secret."""
    level = logging.getLevelNamesMapping()[log.level.upper()]
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    json_lines = (tracebacks, structlog.processors.JSONRenderer())
    for_people = (structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(json_lines if log.json else for_people),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)


def _explain(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        raise error
    reasons = list(_leaves(error))
    if all(isinstance(reason, MeshError) for reason in reasons):
        for reason in reasons:
            print(f"meshd: {reason}", file=sys.stderr)
        return 1
    _log.critical("meshd_crashed", exc_info=error)
    return 70


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


if __name__ == "__main__":
    sys.exit(main())
