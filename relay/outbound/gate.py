"""The last gate before a request is sent: it lets exactly one through, and none after the deadline.

libcurl asks it in ``PREREQFUNCTION``, right before it writes a request. This matters because libcurl silently sends a
request again when a kept-alive connection dies before the first byte of the answer.
An attempt's ``sent`` says whether the gate was passed.
"""

from __future__ import annotations

from typing import Final

from relay.process.clock import boot_time_s

_SHUT: Final[list[bool]] = [False]


class Gate:
    """The gate of one attempt. Safe for greenlets and threads: the first to set ``_fate`` decides for good.

    ``deadline_s`` is on the clock of ``boot_time_s``.
    """

    __slots__ = ("_fate", "deadline_s")

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._fate: dict[str, list[bool]] = {}

    def enter(self) -> bool:
        """Ask to write a request now; return True only once, before the deadline, and if the gate is not shut."""
        if self.expired:
            return False
        passage = [True]  # a new object each time, so that only the first caller gets its own back
        return self._fate.setdefault("first", passage) is passage

    def shut(self) -> bool:
        """Shut the gate for good; return True if nothing has passed and nothing ever will, False if a request has."""
        return self._fate.setdefault("first", _SHUT) is _SHUT

    @property
    def entered(self) -> bool:
        """Whether a request has passed, so that it may have been sent."""
        return self._fate.get("first", _SHUT) is not _SHUT

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return boot_time_s() >= self.deadline_s
