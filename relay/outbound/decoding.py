"""Decodes the bodies of answers without holding up the calls of other greenlets."""

from __future__ import annotations

from typing import Final

import gevent
from gevent.lock import Semaphore

from relay.domain.invocation import Outcome, Sent
from relay.executor.large_work import let_others_run
from relay.outbound.content_coding import Decoder, Undecodable, coding_of
from relay.outbound.transfer import TransferResult
from relay.process.clock import boot_time_s

CONTENT_ENCODING: Final = b"content-encoding"


class Decoding:
    """Decodes the answers of one hub. After their first steps, its loop runs only one step of one answer per turn."""

    def __init__(self) -> None:
        self._one_step = Semaphore(1)

    def decoded(self, result: TransferResult, max_bytes: int, deadline_s: float) -> TransferResult:
        """Return the result with its content decoded, or a failed one if that is not possible, or not in time."""
        coded = result.body
        if not coded:
            return result
        try:
            coding = coding_of(result.head.all(CONTENT_ENCODING))
            content = coded if coding is None else self._content(Decoder(coded, coding, max_bytes), deadline_s)
        except Undecodable:
            content = None
        except TimeoutError:
            return TransferResult(Outcome.ANSWER_TIMEOUT, Sent.MAYBE, received_bytes=len(coded))
        if content is None or len(content) > max_bytes:
            return TransferResult(Outcome.ANSWER_REJECTED, Sent.ANSWERED, received_bytes=len(coded))
        return result._replace(body=content, received_bytes=len(content))

    def _content(self, decoder: Decoder, deadline_s: float) -> bytes:
        """Decode a body; nearly all take one step. Raises Undecodable, and TimeoutError at the deadline."""
        decoder.step()
        while not decoder.ended:
            if boot_time_s() >= deadline_s:
                raise TimeoutError
            with self._one_step:
                let_others_run()
                decoder.step()
            gevent.sleep(0)  # a greenlet that waits for the semaphore gets it before this one is back
        return decoder.content
