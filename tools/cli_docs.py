"""Writes docs/cli.md from the command's own help: `python tools/cli_docs.py`; --check fails when that is stale."""

import argparse
import sys
from pathlib import Path

import click

from mesh.cli.main import mesh

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# The command `mesh`

Made by `python tools/cli_docs.py` from `mesh --help`; the words are those of the program.

Habits are kubectl's: the verbs, short names (`po`, `no`, `ns`, `cm`, `ev`), `KIND NAME` or `KIND/NAME`, columns,
`pod/web created`, results on standard output and remarks on standard error.

| Exit code | Means |
|---|---|
| 0 | all is well |
| 1 | an error, told in a sentence on standard error; also `mesh status` and `mesh doctor` when something needs you |
| 130 | interrupted (Ctrl-C) |
| 141 | the reader of the output went away |
| other | of `mesh exec`: the command's own |

Which mesh is meant stands in `~/.mesh/config` (`MESHCONFIG` names another file), which `mesh up` writes; `mesh config`
chooses between several. `NO_COLOR` makes all output plain.

"""


def render() -> str:
    """The whole document."""
    root = click.Context(mesh, info_name="mesh", max_content_width=100, terminal_width=100)
    parts = [HEAD, _block("mesh", mesh.get_help(root))]
    for name in mesh.list_commands(root):
        command = mesh.get_command(root, name)
        if command is not None:
            parts += _sections(command, name, root)
    return "\n".join(parts).rstrip() + "\n"


def _sections(command: click.Command, name: str, parent: click.Context) -> list[str]:
    command.params = [p for p in command.params if p.name not in _GLOBAL]
    ctx = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    parts = [_block(ctx.command_path, command.get_help(ctx))]
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            if found is not None:
                parts += _sections(found, below, ctx)
    return parts


_GLOBAL = {p.name for p in mesh.params}


def _block(title: str, text: str) -> str:
    return f"## {title}\n\n```\n{text.rstrip()}\n```\n"


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when docs/cli.md is not current")
    check = parser.parse_args().check
    text = render()
    if not check:
        TARGET.write_text(text)
        return 0
    if not TARGET.is_file() or TARGET.read_text() != text:
        sys.stderr.write("docs/cli.md is not current: run `python tools/cli_docs.py`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
