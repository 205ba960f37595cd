"""Claims calls, and gives back claimed calls that were not sent."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import gevent

from relay.executor.active_calls import ActiveCall, webhook_of
from relay.outbound.gate import Gate
from relay.process import loops
from relay.process.clock import boot_time_s
from relay.process.loops import Failures, repeat_until_done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.executor.preparation import Call
    from relay.executor.scheduler import Scheduler
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import Claimed

#: For how many seconds to keep trying to give back what a claim without a reply may have granted: far above any lease.
GIVE_BACK_S: Final = 3600.0


class Claimer:
    """Claims calls for one process. Calls that may run because others were given back are published for any worker."""

    def __init__(self, store: InvocationStore, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        self._under_way = 0  # claims without a reply yet
        self._unsent: dict[str, list[str]] = {}  # by claim token: calls that will soon be given back

    @property
    def busy(self) -> bool:
        """Whether a claim has no reply yet, or a call is still to be given back."""
        return self._under_way > 0 or bool(self._unsent)

    def claim(
        self, calls: Sequence[Call], full: Sequence[str], park: Sequence[str]
    ) -> tuple[Claimed, list[ActiveCall]]:
        """Claim calls to send them; park those whose records were read as ``full``, and those in ``park``.

        Returns the reply and the granted calls. Raises what the store raises; calls that the claim may have granted
        all the same are then given back as soon as the store can be reached.
        """
        claim_token, begun_s = uuid4().hex, boot_time_s()
        reference_ids = [call.record.reference_id for call in calls]
        self._under_way += 1
        try:
            claimed = self._store.claim(reference_ids, claim_token, full=full, park=park)
            return claimed, self._granted(calls, claimed, claim_token, begun_s)
        except BaseException:
            for reference_id in reference_ids:
                self.give_back_soon(claim_token, reference_id)
            raise
        finally:
            self._under_way -= 1

    def _granted(self, calls: Sequence[Call], claimed: Claimed, claim_token: str, begun_s: float) -> list[ActiveCall]:
        answered_s = boot_time_s()
        # Leases count from before the claim was sent. A slow reply costs the calls none of their time as long as half
        # the margin of their leases makes up for it; the other half is left for settling.
        start_s = min(answered_s, begun_s + self._store.lease_margin_s / 2)
        return [
            ActiveCall(
                call,
                webhook_of(call.record),
                claim_token,
                Gate(start_s + call.record.timeout_ms / 1000),
                claimed_at_ms=claimed.now_ms,
                claimed_at_s=answered_s,
                waited_ms=claimed.waited_ms.get(call.record.reference_id),
            )
            for call in calls
            if call.record.reference_id in claimed.granted
        ]

    def give_back(self, by_token: Mapping[str, Sequence[str]]) -> None:
        """Try once to give back calls that were not sent; if that fails, their leases end."""
        for claim_token, reference_ids in by_token.items():
            try:
                self._scheduler.publish(self._store.release(reference_ids, claim_token))
            except Exception as error:  # noqa: BLE001 - the calls of other claims are still to be given back
                Failures("release", calls=len(reference_ids)).note(error)

    def give_back_soon(self, claim_token: str, reference_id: str) -> None:
        """Give back a call that was not sent, as soon as the store can be reached."""
        if claim_token in self._unsent:
            self._unsent[claim_token].append(reference_id)
            return
        self._unsent[claim_token] = [reference_id]
        try:
            gevent.spawn(self._give_back_surely, claim_token)
        except Exception:  # noqa: BLE001 - out of memory, for example: no greenlet can wait for the store
            del self._unsent[claim_token]
            self.give_back({claim_token: [reference_id]})

    def _give_back_surely(self, claim_token: str) -> None:
        end_s = boot_time_s() + GIVE_BACK_S
        gevent.sleep(loops.RETRY_S)  # the claim itself may still be on its way, or the store slow
        unsent = self._unsent[claim_token]
        try:
            while unsent:  # more of the claim's calls may come while some are given back
                reference_ids = list(unsent)
                ready = repeat_until_done(
                    partial(self._store.release, reference_ids, claim_token),
                    "release",
                    gevent.sleep,
                    until_s=end_s,
                    calls=len(reference_ids),
                )
                del unsent[: len(reference_ids)]
                self._scheduler.publish(ready)
        except Exception:  # noqa: BLE001 - it was logged; the leases end
            return
        finally:
            del self._unsent[claim_token]
