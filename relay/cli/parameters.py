"""The options and arguments that several commands share, and the trigger that is made from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from relay.cli.completion import plugins_like, webhooks_like
from relay.errors import BadParameter, MalformedJson
from relay.settings import default_plugin
from relay.text.ids import ID_PATTERN, ID_RULE
from relay.text.quantities import read_seconds
from relay.text.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The most bytes that a document or a payload in a file or on standard input may have.
MAX_INPUT_BYTES: Final = 64 * 1024 * 1024
#: The most bytes of a secret.
MAX_SECRET_BYTES: Final = 64 * 1024
_MAX_DURATION_S: Final = 3_650 * 86_400
#: The caller that records name for calls made by commands.
CALLER: Final = "cli"
_SEVERAL: Final = "Can be repeated."


def read_id(text: str, param: click.Parameter | None = None) -> str:
    """Return the name of a plugin, or the id of a webhook; raise a usage error if it is malformed."""
    if not ID_PATTERN.match(text):
        raise click.BadParameter(f"an id {ID_RULE}", param=param)
    return text


def read_duration(text: str) -> float:
    """Return the seconds of ``90d``, ``12h`` or ``30``; raise a usage error for 0, or more than ten years."""
    try:
        seconds = read_seconds(text)
    except ValueError as error:
        raise click.BadParameter(f"a duration {error}") from None
    if not 0 < seconds <= _MAX_DURATION_S:
        raise click.BadParameter("a duration must be more than 0 and at most 3650d")
    return seconds


def data_dir() -> Path:
    """Return the data directory of the command that runs now."""
    directory: Path = click.get_current_context().obj
    return directory


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Make one decorator of those of several options, in the order of the help."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def plugin_option(*, required: bool = True) -> Callable[..., Any]:
    """Make the option ``--plugin``; if required, its default is `RELAY_PLUGIN` in the environment or relay.env."""
    about = "The plugin to act for [default: RELAY_PLUGIN]." if required else "The plugin to act for."
    take = _plugin_or_default if required else None
    return click.option("--plugin", type=read_id, metavar="ID", callback=take, help=about, shell_complete=plugins_like)


def _plugin_or_default(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    return value if ctx.resilient_parsing else plugin_or_default(value)


def plugin_or_default(plugin: str | None) -> str:
    """Return the plugin, or, without one, the default; raise a usage error if there is none."""
    if plugin is not None:
        return plugin
    ctx = click.get_current_context()
    param = next(each for each in ctx.command.params if each.name == "plugin")
    text = default_plugin(data_dir())
    if text is None:
        raise click.MissingParameter(ctx=ctx, param=param, message="Or set RELAY_PLUGIN.")
    return read_id(text, param)


webhook_argument: Final = click.argument("webhook_id", metavar="ID", type=read_id, shell_complete=webhooks_like)
webhook_options: Final = together(webhook_argument, plugin_option())
create_plugin_option: Final = click.option(
    "--create-plugin", is_flag=True, help="Create the plugin even though its name resembles an existing one."
)
trigger_options: Final = together(
    click.option("--data", metavar="JSON|@FILE|-", help="JSON, a file that holds it, or standard input."),
    click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help=_SEVERAL),
    click.option("--query", "query_params", multiple=True, metavar="NAME=VALUE", help=_SEVERAL),
    click.option("--path", "path_params", multiple=True, metavar="NAME=VALUE", help=_SEVERAL),
)


def trigger_value(
    data: str | None, headers: Iterable[str], query_params: Iterable[str], path_params: Iterable[str]
) -> dict[str, Any]:
    """Return the trigger that `trigger_options` describe, as the JSON value that the API would get.

    Raises:
        MalformedJson: ``data`` is not strict JSON.
        click.UsageError: a pair without ``=``, a name given twice, a file that cannot be read.
    """
    value: dict[str, Any] = {
        "headers": _pairs("--header", headers),
        "queryParams": _pairs("--query", query_params),
        "pathParams": _pairs("--path", path_params),
    }
    if data is not None:
        try:
            value["data"] = read_json(_input(data))
        except MalformedJson as error:
            message = error.message.replace("The body", "--data", 1)
            raise MalformedJson(f"{message} A string needs quotes as well: '\"text\"'.") from None
    return value


def _pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} takes NAME=VALUE.")
        if name in pairs:
            raise click.UsageError(f"{option} was given twice for the same name.")
        pairs[name] = value
    return pairs


def _input(data: str) -> bytes:
    if data == "-":
        return read_source(sys.stdin.buffer.read)
    if data.startswith("@"):
        try:
            with Path(data[1:]).open("rb") as file:
                return read_source(file.read)
        except OSError:
            raise click.UsageError("The file that --data names cannot be read.") from None
    return data.encode("utf-8", "surrogateescape")


def read_source(read: Callable[[int], bytes]) -> bytes:
    """Return all bytes that ``read`` gives; raise a usage error if they are more than ``MAX_INPUT_BYTES``."""
    raw = read(MAX_INPUT_BYTES + 1)
    if len(raw) > MAX_INPUT_BYTES:
        raise click.UsageError(f"The input has more than {MAX_INPUT_BYTES} bytes.")
    return raw


def read_secret(prompt: str, file: IO[bytes] | None = None) -> str:
    """Read a secret's value from a file, from standard input, or by a prompt on a terminal; drop its last line break.

    Raises:
        BadParameter: it is not text in UTF-8, has more than ``MAX_SECRET_BYTES``, or a NUL.
    """
    try:
        if file is None and sys.stdin.isatty():
            raw = click.prompt(prompt, hide_input=True, confirmation_prompt=True).encode("utf-8", "surrogateescape")
        else:
            raw = (file or sys.stdin.buffer).read(MAX_SECRET_BYTES + 1)
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise BadParameter("A secret must be text in UTF-8.") from None
    if "\0" in text or len(raw) > MAX_SECRET_BYTES:
        raise BadParameter(f"A secret must have at most {MAX_SECRET_BYTES} bytes, and no NUL among them.")
    return text
