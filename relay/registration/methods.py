"""HTTP methods that may be registered, and what each of them means for a request."""

from __future__ import annotations

from typing import Final

#: The methods, in the order in which the documentation names them.
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Methods of requests that may be sent again when the outcome is unknown (RFC 9110, 9.2.2).
IDEMPOTENT_METHODS: Final = frozenset({"GET", "PUT", "DELETE"})
#: Methods for which null, ``{}`` and ``""`` mean no body, and no body needs no Content-Length (RFC 9110, 8.6).
BODILESS_METHODS: Final = frozenset({"GET", "DELETE"})
