"""Replays on a ledger: the acts of operators, and those of the worker that holds a job."""

from __future__ import annotations

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.replay.planning import Replays
from relay.store.ledger.listing import Filter
from relay.store.ledger.transitions import NewStep
from relay.store.replays.jobs import ReplayStore
from relay.store.replays.runs import NewReplay, ReplayRuns, ReplayVerdict, Request
from tests.contract.ledger import LIMITS, verdict_on
from tests.store_keys import KEYS

DAY_MS = 24 * 3600 * 1000
FAILED = Filter(error=True)


class ReplayHarness:
    """Acts as the operators, and as one worker at a time."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.client = ledger.client
        self.store = ReplayStore(ledger.client, LIMITS)
        self.runs = ReplayRuns(ledger.client, keep_ms=DAY_MS, max_age_ms=DAY_MS)
        self.published = []
        self.replays = Replays(self.store, self.runs, ledger.listing, self.published.extend)

    # -- originals ----------------------------------------------------------------------------------------------

    def ended(self, outcome=Outcome.ANSWERED, status=503, sent=Sent.ANSWERED, state=None, **changes):
        """Make an invocation that ended this way; return its reference id."""
        ref, token = self.ledger.claimed(**changes)
        self.settle(ref, token, outcome, status, sent, state)
        return ref

    def settle(self, ref, token, outcome=Outcome.ANSWERED, status=503, sent=Sent.ANSWERED, state=None):
        delivered = outcome in {Outcome.ANSWERED, Outcome.RESPONSE_REJECTED}
        state = state or (State.DELIVERED if delivered else State.UNREACHABLE)
        error = status >= 400 or outcome is not Outcome.ANSWERED
        attempt = Attempt(1, 1_000, 5, status, outcome, sent)
        settlement = self.ledger.settlement(
            ref, token, state=state, outcome=outcome, status=status, error=error, attempt=attempt
        )
        settled = self.ledger.store.settle([settlement])
        self.published.extend(settled.ready)

    def fail_chain(self, ref):
        """End a chain whose last step failed."""
        self.published.extend(self.ledger.end_chain(ref, status=503, error=True).ready)

    def begin(self, chain, **more):
        """Have a chain make a step of one call; return the verdict."""
        call = NewStep(new_reference_id(), "hook", 1, 20_000, repeatable=True, payload=b"\x01s", request_bytes=1)
        return verdict_on(self.ledger.advance(chain, call, **more), chain)

    def failed(self, count):
        """Make ``count`` invocations that certainly failed; return their reference ids, oldest first."""
        return [self.ended() for _ in range(count)]

    # -- jobs ---------------------------------------------------------------------------------------------------

    def start(self, plugin="acme", **request):
        if "reference_ids" not in request:
            request = {"filter": Filter(), **request}
        return self.replays.start(plugin, Request(**request), caller="k9")

    def job(self, job):
        return self.store.get(job.plugin, job.replay_id)

    def take(self, job):
        """Claim the job; return the new holder's token, or None if it was not granted."""
        token = self.ledger.token()
        return token if self.runs.claim(job.replay_id, token) else None

    def brought(self, job, limit=50, revision=1):
        """Return the job's place, and what its holder would create for the next originals."""
        place, originals = self.runs.read(job.replay_id, limit)
        news = [
            NewReplay()
            if original.skip
            else NewReplay(new_reference_id(), revision, 20_000, False, b"\x02" + original.payload)
            for original in originals
        ]
        return place, news

    def step(self, job, token, limit=50, **changes):
        place, news = self.brought(job, limit, **changes)
        return self.runs.create(job.replay_id, token, place, news)

    def create_all(self, job):
        """Claim the job and create replays until all originals are decided, or no more may be created now."""
        token = self.take(job)
        assert token is not None
        while True:
            created = self.step(job, token)
            if created.verdict is not ReplayVerdict.ON:
                return created

    def made(self, job):
        """Return the reference ids that the job has created, in order."""
        decided = self.client.lrange(f"relay:{{0}}:replay:{job.replay_id}:decided", 0, -1)
        return [each.decode() for each in decided if len(each) == 36]

    def decided(self, job):
        """Return for each original, in order, True if it was replayed, or the reason why it was skipped."""
        decided = self.client.lrange(f"relay:{{0}}:replay:{job.replay_id}:decided", 0, -1)
        return [True if len(each) == 36 else each.decode() for each in decided]

    def send(self, refs, **end):
        """Claim calls and settle those that are granted; return these."""
        token = self.ledger.token()
        claimed = self.ledger.store.claim(refs, token)
        for ref in sorted(claimed.granted):
            self.settle(ref, token, **({"status": 200} | end))
        return claimed.granted

    def record(self, ref):
        return self.ledger.store.find(ref)

    def lose_holder(self, job):
        """Make the lease of the job's holder end in the past."""
        self.client.hset(KEYS.replay(job.replay_id), "leaseEnd", 1)
        self.client.zadd(KEYS.due_running(), {f"replay-{job.replay_id}": 1})

    def adds_up(self, job):
        job = self.job(job)
        return job.matched == job.delivered + job.failed + job.skipped
