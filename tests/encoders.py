"""Encoders of a text, as honest endpoints use them, independent of the relay's own code. Any of them may be combined."""

from __future__ import annotations

import base64
import html
import json
import quopri
import textwrap
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def raw(text: str) -> bytes:
    return text.encode("latin-1")


def every(form: str) -> Callable[[str], str]:
    """Return an encoder of all characters."""
    return lambda text: "".join(form.format(ord(character)) for character in text)


def marks(form: str) -> Callable[[str], str]:
    """Return an encoder of what is neither a letter nor a digit."""
    return lambda text: "".join(c if c.isascii() and c.isalnum() else form.format(ord(c)) for c in text)


def base64_text(text: str) -> str:
    return base64.b64encode(raw(text)).decode()


def hex_with(separator: str, form: str = "{:02x}") -> Callable[[str], str]:
    return lambda text: separator.join(form.format(byte) for byte in raw(text))


def dump(text: str) -> str:
    """Write as ``hexdump -C`` does."""
    lines = [raw(text)[at : at + 16] for at in range(0, len(text), 16)]
    return "\n".join(f"{16 * n:08x}  {line.hex(' '):<48} |{shown(line)}|" for n, line in enumerate(lines))


def xxd(text: str) -> str:
    lines = [raw(text)[at : at + 16] for at in range(0, len(text), 16)]
    return "\n".join(f"{16 * n:08x}: {line.hex(' ', -2):<39}  {shown(line)}" for n, line in enumerate(lines))


def shown(line: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)


ENCODERS: dict[str, Callable[[str], str]] = {
    "percent": lambda text: urllib.parse.quote(text, safe="", encoding="latin-1"),
    "percent of forms": lambda text: urllib.parse.quote_plus(text, encoding="latin-1"),
    "percent of all": every("%{:02X}"),
    "percent-u": marks("%u{:04x}"),
    "html": html.escape,
    "html decimal": marks("&#{};"),
    "html decimal of all, with zeros": every("&#{:06};"),
    "html hex of all": every("&#x{:x};"),
    "json": lambda text: json.dumps(text)[1:-1],
    "json of a string": json.dumps,
    "json of PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "JS of all": every("\\u{:04x}"),
    "JS with braces": marks("\\u{{{:x}}}"),
    "JS with braces of all": every("\\u{{{:x}}}"),
    "hex escapes": marks("\\x{:02x}"),
    "octal": marks("\\{:03o}"),
    "octal of all": every("\\{:03o}"),
    "repr": lambda text: repr(text)[1:-1],
    "backslashes": lambda text: "".join(c if c.isalnum() else f"\\{c}" for c in text),
    "quoted-printable": lambda text: quopri.encodestring(raw(text), quotetabs=True).decode(),
    "quoted-printable of all": lambda text: "=\r\n".join(textwrap.wrap(every("={:02X}")(text), 75)),
    "base64": base64_text,
    "base64 without padding": lambda text: base64_text(text).rstrip("="),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(raw(text)).decode(),
    "base64 of MIME": lambda text: "\n".join(textwrap.wrap(base64_text(text), 76)),
    "base64 of PEM": lambda text: "\r\n".join(textwrap.wrap(base64_text(text), 64)),
    "base64 of a login": lambda text: base64_text(f"user:{text}"),
    "base64 of a document": lambda text: base64_text(f'{{"x": "{text}"}}'),
    "hex": hex_with(""),
    "HEX": hex_with("", "{:02X}"),
    "hex with blanks": hex_with(" "),
    "hex with colons": hex_with(":"),
    "hex with dashes": hex_with("-"),
    "hex in lines": hex_with("\n"),
    "hex with 0x": hex_with(", ", "0x{:02x}"),
    "dump": dump,
    "xxd": xxd,
    "Buffer": lambda text: json.dumps({"type": "Buffer", "data": list(raw(text))}),
    "list of bytes": lambda text: json.dumps(list(raw(text)), separators=(",", ":")),
    "list of bytes in lines": lambda text: json.dumps(list(raw(text)), indent=2),
    "list of bytes of Go": lambda text: f"[{' '.join(map(str, raw(text)))}]",
    "list of bytes, one a line": lambda text: "\r\n".join(map(str, raw(text))) + "\r\n",
    "UTF-16 LE": lambda text: text.encode("utf-16-le").decode("latin-1"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be").decode("latin-1"),
    "CSV": lambda text: text.replace('"', '""'),
    "SQL": lambda text: text.replace("'", "''"),
    "shell": lambda text: text.replace("'", "'\"'\"'"),
    "upper case": str.upper,
    "lower case": str.lower,
}
_CASES = {"upper case", "lower case"}
_DUMPS = {"dump", "xxd"}


def can_be_undone(names: tuple[str, ...]) -> bool:
    """Return whether the relay promises to undo these encoders, the first of which is applied first.

    Base64 whose letters have changed their case cannot be undone, and is looked for as it is: not of an encoded text.
    Of a dump of a dump the lines are not told apart.
    """
    for number, name in enumerate(names):
        if name in _CASES and any(each.startswith("base64") for each in names[1:number]):
            return False
    return sum(name in _DUMPS for name in names) < 2
