"""`make test-hosts`: three hosts from nothing to a mesh that answers, and back to nothing; says how long it took.

    python -m tests.machines.provision DIRECTORY BUNDLE [--suite trixie] [--keep] [--other BUNDLE]

Rule: everything is done by the collection's playbooks, as a user does it; what does not hold ends the run with exit
code 1 and the words of what failed.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.machines.lab import Failed, Lab, ask_for_lab, played, run
from tests.machines.monitoring import scraped
from tests.machines.picture import Picture, differences, picture

ROOT = Path(__file__).parent.parent.parent
TOOLS = ROOT / ".venv" / "ansible"
HOSTS = ("host1", "host2", "host3")
ASKED = {"mesh_firewall": True, "mesh_journal_max": "200M"}  # what a user may switch on
EVERYTHING = ("--extra-vars", "mesh_reset_backups=true")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask_for_lab(parser)
    parser.add_argument("--other", type=Path, help="a release to go to and back from; else the same by another name")
    told = parser.parse_args()
    lab = Lab(told.directory.absolute(), HOSTS, told.suite, told.mirror)
    other = told.other and told.other.absolute()
    return played(lambda: story(lab, told.bundle.absolute(), other), lab, keep=told.keep)


def story(lab: Lab, bundle: Path, other: Path | None) -> None:
    """All of it."""
    timed("three bare hosts boot", lab.boot)
    before = {name: seen(lab, name) for name in HOSTS}
    mine = with_images(lab.directory, bundle, lab.directory / "bundle")
    guestbook = str(ROOT / "examples" / "guestbook" / "guestbook.yaml")
    inventory = lab.inventory(mine, **ASKED, mesh_manifests=[guestbook])
    timed("check mode on bare hosts", lambda: play(inventory, "site", "--check"))
    unchanged(lab, before, "check mode")
    timed("bare hosts to a mesh with the guestbook", lambda: play(inventory, "site"))
    timed("the guestbook answers on every host", lambda: answers(lab, "guestbook", "Welcome to the guestbook"))
    for what, args in (("the same again", ()), ("the same in check mode", ("--check",))):
        said = timed(what, lambda args=args: play(inventory, "site", *args))
        expect(changes(said) == dict.fromkeys(HOSTS, 0), f"{what} changes nothing, not {changes(said)}")
    timed("Prometheus beside the mesh", lambda: play(inventory, "monitoring"))
    timed("all layers are read", lambda: scraped(lab, HOSTS))
    said = play(inventory, "monitoring")
    expect(changes(said) == dict.fromkeys(HOSTS, 0), f"monitoring again changes nothing, not {changes(said)}")
    web(lab)
    for release in (other or relabelled(mine, lab.directory / "other"), mine):
        upgraded(lab, lab.inventory(release, **ASKED), named(release))
    timed("certificates renewed", lambda: play(inventory, "rotate_certs"))
    answers(lab, "web", "Hello from the mesh")
    timed("reset", lambda: play(inventory, "reset", *EVERYTHING))
    unchanged(lab, before, "reset")
    with lab.without_internet(HOSTS[0]):
        own = {**ASKED, "mesh_manifests": [guestbook], "mesh_debs": True, "mesh_node_ip": lab.addresses[HOSTS[0]]}
        inventory = lab.inventory(mine, HOSTS[:1], **own)
        timed("a bare host without internet to a mesh", lambda: play(inventory, "site"))
        answers(lab, "guestbook", "Welcome to the guestbook", HOSTS[:1])
        timed("reset of it", lambda: play(inventory, "reset", *EVERYTHING))
    unchanged(lab, before, "reset")


def seen(lab: Lab, name: str) -> Picture:
    """A host as it is now."""
    return picture(lambda command: lab.ssh(name, command), lab.rules(name))


def unchanged(lab: Lab, before: Mapping[str, Picture], what: str, hosts: Sequence[str] = HOSTS) -> None:
    """Raises Failed with what a playbook left on the hosts."""
    for name in hosts:
        left = differences(before[name], seen(lab, name))
        expect(not left, f"{what} leaves {name} as it was, but for:\n" + "\n".join(left))


def upgraded(lab: Lab, inventory: Path, release: str) -> None:
    """Every host is brought to the inventory's release while all of them ask a Service."""
    with asked(lab) as found:
        timed(f"upgrade to {release}, host by host, under load", lambda: play(inventory, "upgrade"))
    for name, said in found.items():
        print(f"  asked on {name}: {said['asked']}, failed {len(said['failures'])}, slowest {said['slowest']} s")
        expect(not said["failures"], f"no request fails on {name}, not {said['failures'][:5]}")


def timed(what: str, act: Callable[[], Any]) -> Any:
    """Does it, and says how long it took."""
    began = time.monotonic()
    result = act()
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def play(inventory: Path, playbook: str, *args: str) -> str:
    """Runs a playbook; returns what it said."""
    command = f". {TOOLS}/activate && exec ansible-playbook -i {inventory} mesh.hosts.{playbook} {' '.join(args)}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    (inventory.parent / f"{playbook}.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise Failed(f"ansible-playbook {playbook} → {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def changes(said: str) -> dict[str, int]:
    """How many tasks changed something, by host."""
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", said, re.MULTILINE)}


def answers(lab: Lab, service: str, words: str, hosts: Sequence[str] = HOSTS) -> None:
    """Raises Failed unless a Service's page has these words on each host."""
    found = json.loads(lab.ssh(HOSTS[0], "mesh", "get", "service", service, "-o", "json"))
    for name in hosts:
        page = lab.ssh(name, "busybox", "wget", "-q", "-O", "-", f"http://{found['spec']['clusterIP']}/")
        expect(words in page, f"the Service {service} answers on {name}, not {page!r}")


def web(lab: Lab) -> None:
    """The example is applied on the control host, and its Service answers from each host."""
    control = HOSTS[0]
    lab.podman("cp", str(hello(lab)), f"{control}:/tmp/hello.tar")
    lab.podman("cp", str(ROOT / "examples" / "web" / "web.yaml"), f"{control}:/tmp/web.yaml")
    lab.ssh(control, "mesh", "image", "load", "/tmp/hello.tar")
    lab.ssh(control, "mesh", "apply", "-f", "/tmp/web.yaml", "--wait", "--timeout=120s")
    answers(lab, "web", "Hello from the mesh")
    lab.ssh(control, "rm", "-f", "/tmp/hello.tar", "/tmp/web.yaml")


def hello(lab: Lab) -> Path:
    """An archive of the image of examples/hello."""
    image, saved = lab.directory / "hello.tar", lab.directory / "hello-image.tar"
    run(str(ROOT / "examples" / "hello" / "image.sh"), str(image))
    lab.podman("import", "--change", 'CMD ["/bin/sh"]', str(image), "localhost/mesh-hello:1")
    saved.unlink(missing_ok=True)
    lab.podman("save", "--output", str(saved), "localhost/mesh-hello:1")
    return saved


def with_images(scratch: Path, bundle: Path, made: Path) -> Path:
    """The same bundle with the guestbook's image in it, which is built here: no host has a registry."""
    podman = ("podman", "--root", str(scratch / "builds"), "--runroot", str(scratch / "run-builds"))
    context, tag = scratch / "guestbook", "localhost/guestbook:1"
    run("rm", "-rf", str(context), str(made))
    run("cp", "-r", str(ROOT / "examples" / "guestbook"), str(context))
    run("cp", "/bin/busybox", str(context / "busybox"))
    run(*podman, "build", "--isolation=chroot", "--tag", tag, str(context))
    run("cp", "-rl", str(bundle), str(made))
    run(*podman, "save", "--output", str(made / "images" / "guestbook.tar"), tag)
    return made


def relabelled(bundle: Path, fresh: Path) -> Path:
    """The same bundle as another release."""
    run("rm", "-rf", str(fresh))
    run("cp", "-rl", str(bundle), str(fresh))
    release = json.loads((bundle / "release.json").read_text())
    (fresh / "release.json").unlink()
    (fresh / "release.json").write_text(json.dumps({**release, "release": f"{release['release']}-other"}))
    return fresh


def named(bundle: Path) -> str:
    """The release that is in it."""
    return str(json.loads((bundle / "release.json").read_text())["release"])


@contextmanager
def asked(lab: Lab, hosts: Sequence[str] = HOSTS) -> Iterator[dict[str, dict[str, Any]]]:
    """Requests from hosts to the example's Service meanwhile; afterwards it holds what they saw."""
    service = json.loads(lab.ssh(HOSTS[0], "mesh", "get", "service", "web", "-o", "json"))
    seen: dict[str, dict[str, Any]] = {}
    script = str(Path(__file__).parent / "load.py")
    for name in hosts:
        lab.podman("cp", script, f"{name}:/root/load.py")
        asking = ("python3", "/root/load.py", service["spec"]["clusterIP"], "80", "/root/load.json")
        lab.ssh(name, "systemd-run", "--quiet", "--collect", "--unit=load", *asking)
    try:
        yield seen
    finally:
        for name in hosts:
            lab.ssh(name, "systemctl", "stop", "load")
            seen[name] = json.loads(lab.ssh(name, "cat", "/root/load.json"))
            lab.ssh(name, "rm", "/root/load.py", "/root/load.json")


def expect(holds: bool, what: str) -> None:
    """Raises Failed when it does not hold."""
    if not holds:
        raise Failed(f"not so: {what}")


if __name__ == "__main__":
    sys.exit(main())
