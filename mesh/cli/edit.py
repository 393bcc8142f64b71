"""`mesh edit`: an object in your editor, and back.

Rule: what was written is never lost: a refused text is kept in a file and the editor opens again with the reason.
Secrets are not edited this way, for an editor leaves copies on disks.
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object

_HEAD = "# Lines that begin with # are left out; an empty file gives up.\n"


@click.command("edit", cls=Verb, short_help="Change an object in your editor.")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME | KIND NAME",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.pass_obj
@asynchronous
async def command(session: Session, what: tuple[str, ...]) -> None:
    """Change an object in the editor that EDITOR names (MESH_EDITOR before it, else vi).

    \b
    mesh edit deployment/web
    """
    from mesh.cli import targets
    from mesh.errors import Invalid, MeshError
    from mesh.model import manifest
    from mesh.v1.core_pb2 import Secret

    target = targets.one(what)
    async with session.client() as client:
        held = await client.get(target.kind.name, target.names[0])
        if isinstance(held, Secret):
            raise Invalid("a Secret is not edited: an editor leaves copies on disks; use `mesh create secret … "
                          "--dry-run=client -o yaml | mesh apply -f -` or `mesh patch`")  # fmt: skip
        before = text = manifest.to_yaml(held)
        why = ""
        while True:
            written = _edited(_HEAD + "".join(f"# {line}\n" for line in why.splitlines()) + text)
            text = "".join(line for line in written.splitlines(keepends=True) if not line.startswith("#"))
            if not text.strip() or text == before:
                click.echo("Edit cancelled, no changes made.", err=True)
                return
            try:
                wanted: Object = manifest.load(text, "the edited text").objects[0]
                await client.update(wanted)
            except MeshError as error:
                if error.message == why:
                    raise Invalid(f"{error.message}\nYour text is kept in {_kept(text)}") from None
                why = error.message
                click.echo(f"error: {why}", err=True)
                continue
            click.echo(f"{targets.ref(target.kind, target.names[0])} edited")
            return


def _edited(text: str) -> str:
    from mesh.errors import Invalid

    editor = os.environ.get("MESH_EDITOR") or os.environ.get("EDITOR") or "vi"
    path = _kept(text)
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
        return path.read_text()
    except OSError as error:
        raise Invalid(f'cannot start the editor "{editor}": {error.strerror}; EDITOR names another') from None
    except subprocess.CalledProcessError:
        raise Invalid(f'the editor "{editor}" ended with an error, so nothing is changed') from None
    finally:
        path.unlink(missing_ok=True)


def _kept(text: str) -> Path:
    """The text in a file of its own, for its owner only."""
    handle, name = tempfile.mkstemp(prefix="mesh-edit-", suffix=".yaml")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return Path(name)
