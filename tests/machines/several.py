"""`make test-control`: three bare hosts become a mesh of two meshd over three members of etcd, and bare again.

    python -m tests.machines.several DIRECTORY BUNDLE [--keep] [--only WORD]

Rule: as in tests/machines/provision.py, everything is done as a user does it, by the playbooks and by what docs/ha.md
says; what does not hold ends the run with exit code 1 and the words of what failed.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.harness.etcd import etcd_cluster
from tests.machines.ha import CONTROL, FIRST, SECOND, THIRD, inventory, leader, led_by, moved, until
from tests.machines.lab import Lab, ask_for_lab, played
from tests.machines.matrix import converged
from tests.machines.provision import (
    ASKED,
    EVERYTHING,
    HOSTS,
    ROOT,
    answers,
    asked,
    changes,
    expect,
    named,
    play,
    relabelled,
    seen,
    timed,
    unchanged,
    upgraded,
    web,
    with_images,
)

# A Secret of before the rotation, read by a pod: a meshd without the new key could not give it out.
READS = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reads"},
    "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "kept", "secret": {"secretName": "kept"}}],
        "containers": [{
            "name": "main", "image": "localhost/mesh-hello:1", "command": ["grep", "-q", "canary", "/kept/word"],
            "volumeMounts": [{"name": "kept", "mountPath": "/kept"}],
        }],
    },
}  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask_for_lab(parser)
    parser.add_argument("--only", choices=("own", "given"), help="etcd on the hosts, or a cluster that was there")
    told = parser.parse_args()
    lab = Lab(told.directory.absolute(), HOSTS, told.suite, told.mirror)
    return played(lambda: story(lab, told.bundle.absolute(), told.only), lab, keep=told.keep)


def story(lab: Lab, bundle: Path, only: str | None) -> None:
    """Both, or the one that is wished."""
    timed("three bare hosts boot", lab.boot)
    if only != "given":
        own(lab, bundle)
    if only != "own":
        given(lab, bundle)


def own(lab: Lab, bundle: Path) -> None:
    """A member of etcd on each host, a meshd on two."""
    before = {name: seen(lab, name) for name in HOSTS}
    mine = with_images(lab.directory, bundle, lab.directory / "bundle")
    guestbook = str(ROOT / "examples" / "guestbook" / "guestbook.yaml")
    hosts = inventory(lab, mine, etcd=True, **ASKED, mesh_manifests=[guestbook])
    timed("check mode on bare hosts", lambda: play(hosts, "site", "--check"))
    unchanged(lab, before, "check mode")
    timed("bare hosts to two meshd over three members of etcd", lambda: play(hosts, "site"))
    answers(lab, "guestbook", "Welcome to the guestbook")
    _again(hosts)
    web(lab)
    for release in (relabelled(mine, lab.directory / "other"), mine):
        upgraded(lab, inventory(lab, release, etcd=True, **ASKED), named(release))
    hosts = inventory(lab, mine, etcd=True, **ASKED)
    keys(lab, hosts)
    authorities(lab, hosts)
    head_lost(lab)
    _again(hosts)
    timed("reset", lambda: play(hosts, "reset", *EVERYTHING))
    unchanged(lab, before, "reset")


def keys(lab: Lab, hosts: Path) -> None:
    """New keys and certificates, and each control host leads by them: it reads the Secrets that were there before."""
    lab.ssh(FIRST, "mesh", "create", "secret", "generic", "kept", "--from-literal=word=canary")
    lab.ssh(FIRST, "mesh", "secrets", "rotate-keys")
    timed("certificates renewed, keys taken to every control host", lambda: play(hosts, "rotate_certs"))
    with asked(lab) as found:
        for wanted in (*CONTROL, FIRST):
            timed(f"{wanted} leads", lambda wanted=wanted: led_by(lab, wanted))
            _reads(lab, wanted)
    _none_failed(found)


def authorities(lab: Lab, hosts: Path) -> None:
    """Another authority of the mesh, made by the second meshd, and another one of Ray: nobody is left behind."""
    with asked(lab) as found:
        led_by(lab, SECOND)
        lab.ssh(FIRST, "mesh", "certs", "rotate-ca")
        timed("another authority, and certificates by it", lambda: play(hosts, "rotate_certs"))
        lab.ssh(FIRST, "mesh", "certs", "rotate-ca", "--finish")
        for wanted in (FIRST, SECOND, FIRST):
            timed(f"{wanted} leads", lambda wanted=wanted: led_by(lab, wanted))
            _reads(lab, wanted)
        lab.ssh(FIRST, "mesh", "certs", "rotate-ray-ca")
        timed("Ray's is another one, and every host comes in again", lambda: play(hosts, "rotate_certs"))
        timed("every host is Ready", lambda: converged(lab))
    _none_failed(found)


def head_lost(lab: Lab) -> None:
    """The host of who leads and of Ray's head loses power; when it is back it finds out by itself where the head is."""
    led_by(lab, FIRST)
    with asked(lab, (SECOND, THIRD)) as found:
        lab.power_off(FIRST)
        until(lambda: leader(lab, SECOND) == SECOND, "the follower leads")
        for name in (SECOND, THIRD):
            timed(f"Ray's head moved, said on {name}", lambda name=name: print(moved(lab, name), end=""))
        lab.ssh(SECOND, "mesh", "rollout", "status", "deployment/web", "--timeout=120s")
        lab.power_on(FIRST)
        timed("the first host is back, and hears the new head", lambda: converged(lab))
    _none_failed(found, late=8)  # those under way to pods of the host without power


def given(lab: Lab, bundle: Path) -> None:
    """A cluster of etcd that was there before, on none of the hosts."""
    pair = (FIRST, SECOND)
    before = {name: seen(lab, name) for name in pair}
    gateway = lab.ssh(FIRST, "ip", "route", "show", "default").split()[2]
    directory = lab.directory / "etcd"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    with etcd_cluster(directory, 3, gateway) as etcd:
        files = {f"mesh_etcd_{name}": str(path) for name, path in etcd.write_pki(directory).items()}
        hosts = inventory(lab, bundle, pair, etcd=False, mesh_etcd_endpoints=etcd.clients, **files)
        timed("two bare hosts to two meshd over a given cluster", lambda: play(hosts, "site"))
        _again(hosts, pair)
        for wanted in (SECOND, FIRST):
            timed(f"{wanted} leads", lambda wanted=wanted: led_by(lab, wanted))
        lab.power_off(SECOND)
        lab.power_on(SECOND)
        ready = ("wait", f"node/{SECOND}", "--for=condition=Ready", "--timeout=120s")
        timed("a host that was without power is Ready", lambda: lab.ssh(FIRST, "mesh", *ready))
        etcd.kill(0)
        change = ("annotate", "node", SECOND, "asked=yes")
        timed("a member of it ends, and a change is kept", lambda: lab.ssh(FIRST, "mesh", *change))
        timed("reset", lambda: play(hosts, "reset", *EVERYTHING))
    unchanged(lab, before, "reset", pair)


def _again(hosts: Path, names: Sequence[str] = HOSTS) -> None:
    for what, args in (("the same again", ()), ("the same in check mode", ("--check",))):
        said = timed(what, lambda args=args: play(hosts, "site", *args))
        expect(changes(said) == dict.fromkeys(names, 0), f"{what} changes nothing, not {changes(said)}")


def _reads(lab: Lab, asked: str) -> None:
    """A pod is given the Secret, by who leads now."""
    lab.ssh(asked, "mesh", "apply", "-f", "-", told=json.dumps(READS))
    lab.ssh(asked, "mesh", "wait", "pod/reads", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    lab.ssh(asked, "mesh", "delete", "pod", "reads", "--timeout=60s")


def _none_failed(found: Mapping[str, Mapping[str, Any]], late: int = 0) -> None:
    for name, said in found.items():
        print(f"  asked on {name}: {said['asked']}, failed {len(said['failures'])}, slowest {said['slowest']} s")
        expect(len(said["failures"]) <= late, f"no request fails on {name}, not {said['failures'][:5]}")


if __name__ == "__main__":
    sys.exit(main())
