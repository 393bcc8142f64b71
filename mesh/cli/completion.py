"""`mesh completion`: the script that teaches a shell to complete mesh's words."""

import click

from mesh.cli.session import Verb


@click.command("completion", cls=Verb, short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell's completion script.

    \b
    bash: mesh completion bash > ~/.local/share/bash-completion/completions/mesh
    zsh:  mesh completion zsh > ~/.zfunc/_mesh     (with fpath+=~/.zfunc before compinit)
    fish: mesh completion fish > ~/.config/fish/completions/mesh.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from mesh.cli.main import mesh

    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    click.echo(kinds[shell](mesh, {}, "mesh", "_MESH_COMPLETE").source())
