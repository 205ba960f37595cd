"""Fills in ``${env:NAME}``, ``${file:PATH}`` and ``${secret:NAME}``: references to secrets that are kept elsewhere.

They are looked up when the document is applied. A value from the environment or a file is sealed as if it had been
written out; for a plugin's secret the target keeps the reference (`relay.registration.stored_secrets`). ``$${`` stands
for ``${``. Pure: the caller passes a function that looks them up, by kind and name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from relay.registration.stored_secrets import NUL, Place, may_refer, reference
from relay.text.json_pointers import pointer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The members that may contain references, because their values may be secrets.
MEMBERS: Final = ("headers", "auth", "signing", "fixedData")
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}?")
_NAMED: Final = re.compile(r"(env|file|secret):(.+)\Z", re.DOTALL)
#: In a URL only secrets of the store are filled in, and only in its query.
_IN_QUERY: Final = re.compile(r"\$\{secret:([^{}]*)\}")
_WRITE_OUT: Final = "is not secret: write it out instead of referring to a secret"
_WHOLE_KEY: Final = 'may not refer to a secret by itself: keep the whole JWK in one, "privateKey": "${secret:NAME}"'
_KINDS: Final = "${env:NAME}, ${file:PATH} or ${secret:NAME}"


class Resolved:
    """A webhook's document with its references filled in; ``written`` has the texts that refer to secrets of the store.

    Each is as its target keeps it, by its place in the document. Without ``look_up`` references are plain text.
    """

    def __init__(self, webhook: Any, look_up: Callable[[str, str], str] | None) -> None:
        self.value = webhook
        self.faults: list[tuple[str, str]] = []
        self.written: dict[Place, str] = {}
        if look_up is None or not isinstance(webhook, dict):
            return
        self._look_up = look_up
        self.value = {
            name: self._filled(value, (name,)) if name in MEMBERS else value for name, value in webhook.items()
        }
        if isinstance(webhook.get("url"), str):
            self.value["url"] = self._url(webhook["url"])

    def _filled(self, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(each, (*place, name)) for name, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each, (*place, index)) for index, each in enumerate(value)]
        if not isinstance(value, str):
            return value
        if NUL in value:
            self._fault(place, "must have no control characters")
        return self._text(value, place) if "${" in value else value

    def _url(self, url: str) -> str:
        before, mark, query = url.partition("?")
        if not _IN_QUERY.search(url):
            return url
        if _IN_QUERY.search(before):
            self._fault(("url",), "may refer to a secret in its query only")
        self.written["url",] = _IN_QUERY.sub(lambda found: reference(found[1]), query)
        return before + mark + _IN_QUERY.sub(self._in_query, query)

    def _in_query(self, found: re.Match[str]) -> str:
        return quote(self._looked_up("secret", found[1], ("url",)), safe="")

    def _text(self, text: str, place: Place) -> str:
        pieces = list(self._pieces(text, place))
        if any(kept != piece for piece, kept in pieces):
            self.written[place] = "".join(kept for _, kept in pieces)
            if not may_refer(place):
                self._fault(place, _WHOLE_KEY if place[:2] == ("auth", "privateKey") else _WRITE_OUT)
        return "".join(piece for piece, _ in pieces)

    def _pieces(self, text: str, place: Place) -> Iterator[tuple[str, str]]:
        """Yield the pieces of a text, each with what the target keeps of it."""
        at = 0
        for found in _REFERENCE.finditer(text):
            yield (text[at : found.start()],) * 2
            at = found.end()
            named = _NAMED.match(found[1]) if found[0].endswith("}") else None
            if found[0] == "$${":
                yield "${", "${"
            elif named is None:
                self._fault(place, f"has a reference that is not {_KINDS}; write $${{ for ${{ itself")
            else:
                value = self._looked_up(named[1], named[2], place)
                yield value, reference(named[2]) if named[1] == "secret" else value
        yield (text[at:],) * 2

    def _looked_up(self, kind: str, name: str, place: Place) -> str:
        try:
            return self._look_up(kind, name)
        except ValueError as error:
            self._fault(place, str(error))
            return ""

    def _fault(self, place: Place, message: str) -> None:
        self.faults.append((pointer_of(place), message))
