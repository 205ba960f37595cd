"""Shows operators an endpoint's address without the fixed values of its query, which are secrets (``security.md``)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from relay.answer.masking import REPLACEMENT
from relay.registration.header_rules import MIN_MASKED_LENGTH

if TYPE_CHECKING:
    from relay.registration import Target


def shown_url(url: str, target: Target) -> str:
    """Return a URL made from ``target``, with or without a caller's query; mask the values fixed in its query.

    Values that are too short to be secrets are not masked.
    """
    address, mark, query = url.partition("?")
    fixed = {name for name, _ in target.endpoint.fixed_query}
    return address + mark + "&".join(_shown(pair, fixed) for pair in query.split("&"))


def _shown(pair: str, fixed: set[str]) -> str:
    name, equals, value = pair.partition("=")
    if unquote(name) not in fixed:
        return pair
    if not equals:  # a bare token
        return REPLACEMENT if len(unquote(name)) >= MIN_MASKED_LENGTH else pair
    return f"{name}={REPLACEMENT}" if len(unquote(value)) >= MIN_MASKED_LENGTH else pair
