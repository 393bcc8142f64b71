"""What every verb shares: the global options, the client, and how an async verb runs.

Rule: global options stand before the verb or after it, as with kubectl; a verb imports what is heavy when it runs.
"""

import functools
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec

import click

from mesh.cli import complete

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient

P = ParamSpec("P")


@dataclass(slots=True)
class Session:
    """The global options of one command line."""

    context: str = ""
    namespace: str = ""
    no_color: bool = False
    request_timeout: float = 30.0
    verbose: bool = False

    def client(self) -> "AsyncClient":
        """A client for the context in use; raises NotFound or Invalid when there is none."""
        from mesh.sdk.client import AsyncClient

        return AsyncClient(
            self.context, namespace=self.namespace, timeout=self.request_timeout or None, on_warning=warn
        )

    @property
    def color(self) -> bool:
        """Whether standard output may be coloured: a terminal, and nobody said no (NO_COLOR, --no-color)."""
        dumb = os.environ.get("TERM") == "dumb"
        return sys.stdout.isatty() and not (self.no_color or os.environ.get("NO_COLOR") or dumb)


def warn(text: str) -> None:
    """Tells the user something on standard error."""
    click.echo(f"Warning: {text}", err=True)


def seconds(text: str) -> float:
    """The seconds that "30s", "1m30s", "1.5h", "200ms" or a bare number mean; raises ValueError."""
    import re

    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"-?(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        raise ValueError(f'"{text}" is no duration such as 30s, 5m or 1h30m')
    total = sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text))
    return -total if text.startswith("-") else total


class Duration(click.ParamType[float]):
    """A length of time on the command line, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a usage error for anything else."""
        try:
            return value if isinstance(value, float) else seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.find_root().ensure_object(Session)
    if value is not None and param.name is not None:
        setattr(session, param.name, value)


def global_options() -> list[click.Option]:
    """Fresh options that set the session and are no parameters of the verb."""

    def option(*names: str, **more: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_remember, default=None, **more)

    return [
        option("--context", metavar="NAME", help="Which mesh: a context of the context file.",
               shell_complete=complete.contexts),
        option("-n", "--namespace", metavar="NAME", help="The namespace to work in.",
               shell_complete=complete.namespaces),
        option("--no-color", is_flag=True, help="Plain output; the environment variable NO_COLOR does the same."),
        option("--request-timeout", type=Duration(), metavar="TIME",
               help="How long one request may take; 0: for ever."),
        option("--verbose", is_flag=True, help="Show the details of an unexpected error."),
    ]  # fmt: skip


def without_equals(params: Sequence[click.Parameter], args: Sequence[str]) -> list[str]:
    """The words as kubectl reads them: `-o=yaml` as `-o yaml`, for short options of `params` that take a value, and
    `--wait=true` as `--wait`, `--wait=false` as the option that says the opposite, or no word where none does."""
    options = [p for p in params if isinstance(p, click.Option)]
    taking = {name for p in options if not p.is_flag for name in p.opts if len(name) == 2}
    flags = {name: p for p in options if p.is_bool_flag for name in p.opts}
    own = args.index("--") if "--" in args else len(args)
    words: list[str] = []
    for word in args[:own]:
        name, equals, value = word.partition("=")
        if equals and name in flags and value.lower() in ("true", "false"):
            words += [name] if value.lower() == "true" else flags[name].secondary_opts[:1]
        else:
            words += [word[:2], word[3:]] if word[2:3] == "=" and word[:2] in taking else [word]
    return [*words, *args[own:]]


class Verb(click.Command):
    """A command that understands the global options too; its help lists them last and in short."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.extend(global_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Short options and flags may have their values behind an equals sign."""
        return super().parse_args(ctx, without_equals(self.params, args))


class VerbGroup(Verb, click.Group):
    """A verb that has verbs of its own; `aliases` are other words for them."""

    aliases: ClassVar[Mapping[str, str]] = {}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name or other word."""
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first sentence of each, whole: click would cut it off at the end of the line."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(n, c.get_short_help_str(limit=1000)) for n, c in found if c and not c.hidden])


def asynchronous(function: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Makes a verb's callback of a coroutine function."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        import asyncio

        async def body() -> None:
            await function(*args, **kwargs)

        asyncio.run(body())

    return run
