"""An endpoint on loopback, with the webhooks and calls that a worker runs against it while something fails."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from uuid import uuid4

from relay.domain.invocation import Sent, State
from relay.store.replays.runs import Request
from tests.executor.one_worker import PLUGIN
from tests.receivers import raw_answer, receiver
from tests.store_keys import KEYS

JSON = ("Content-Type", "application/json")
CREDENTIALS = {"type": "oauth2", "clientId": "client-0001", "clientSecret": "planted-client-secret"}


class Site:
    """Answers by path, and counts how often each call was received."""

    def __init__(self):
        self.receipts: Counter[str] = Counter()
        self._bodies: Counter[bytes] = Counter()

    def serve(self, connection, request):
        path = request.target.split("?")[0]
        if path == "/token":
            return connection.send(raw_answer(200, b'{"access_token":"planted-token","expires_in":3600}', JSON))
        self.receipts[request.header("webhook-id")] += 1
        self._bodies[request.body] += 1
        first = self.receipts[request.header("webhook-id")] == 1
        status = {"/flaky": 503 if first else 200, "/guarded": 401 if first else 200}.get(path, 200)
        if path == "/later" and self._bodies[request.body] == 1:
            status = 500
        answer = {"session": "planted-session-7", "echo": request.header("authorization")}
        return connection.send(raw_answer(status, json.dumps(answer).encode(), JSON))


@contextmanager
def site():
    served = Site()
    with receiver(served.serve) as endpoint:
        served.origin = f"http://127.0.0.1:{endpoint.port}"
        yield served


def webhooks(origin):
    """Return a registration of each kind; none is repeatable, so no call is sent again if it may have been sent."""

    def hook(webhook_id, path="/ok", **fields):
        return {"id": webhook_id, "url": origin + path, "method": "POST", **fields}

    return [
        hook("plain"),
        hook("flaky", "/flaky", retry={"attempts": 2, "initial": 1}),
        hook("capped", concurrency=1),
        hook("guarded", "/guarded", auth={**CREDENTIALS, "tokenUrl": f"{origin}/token"}),
        hook("later", "/later"),
        hook("login"),
        hook("order", headers={"Authorization": None}, hidden=True),
        {
            "id": "submit",
            "timeout": 900,
            "steps": [
                {"webhook": "login", "mask": ["steps[0].data.session"]},
                {
                    "webhook": "order",
                    "forEach": "input.data.items",
                    "data": "{n: item}",
                    "headers": {"Authorization": "join(' ', ['Bearer', steps[0].data.session])"},
                    "mask": ["steps[1].data.echo"],
                },
            ],
        },
    ]


class Calls:
    """Calls given to a worker. Each, and each call that it makes, has to be received ``received`` times."""

    def __init__(self, webhook, *data, received=1):
        self._webhook = webhook
        self._data = data
        self.received = received

    def bring(self, worker):
        self.refs = worker.trigger(self._webhook, *self._data)
        return self.refs

    def made(self, worker):
        """Return the reference ids of the calls that are sent to the endpoint."""
        return self.refs

    def check(self, worker, receipts, *, surely):
        """Check how all calls ended. ``surely`` means that no answer was lost, so all must be delivered."""
        for ref in {*self.refs, *self.made(worker)}:
            record = worker.record(ref)
            assert record.state.final
            assert not surely or (record.state, record.status) == (State.DELIVERED, 200), record
            # What was received is never said not to have been sent.
            assert not receipts[ref] or any(each.sent is not Sent.NO for each in record.attempts), record
        most = dict.fromkeys(self.made(worker), self.received)
        got = {ref: receipts[ref] for ref in most}
        assert got == most if surely else all(got[ref] <= most[ref] for ref in most)


class Chain(Calls):
    """One chain, whose second step makes two calls."""

    def __init__(self):
        super().__init__("submit", {"items": [1, 2]})

    def made(self, worker):
        (ref,) = self.refs
        return list(worker.record(ref).steps)

    def check(self, worker, receipts, *, surely):
        assert not surely or len(self.made(worker)) == 3
        assert not any(worker.client.exists(KEYS.raw(ref)) for ref in self.made(worker))
        super().check(worker, receipts, surely=surely)


class Replay(Calls):
    """A replay of two failed calls."""

    def __init__(self):
        super().__init__("later", {"n": uuid4().hex}, {"n": uuid4().hex})  # the endpoint fails each body at first

    def bring(self, worker):
        self._originals = super().bring(worker)
        worker.run()
        self._job = worker.operators.replays.start(PLUGIN, Request(reference_ids=self._originals), caller="k1")
        self.refs = []
        return self.refs

    def made(self, worker):
        replayed = (worker.record(ref).replayed_by for ref in self._originals)
        return [ref for ref in replayed if ref]

    def check(self, worker, receipts, *, surely):
        job = worker.operators.replays.get(PLUGIN, self._job.replay_id)
        assert (job.state, job.matched) == ("done", 2)
        assert not surely or len(self.made(worker)) == job.delivered == 2
        super().check(worker, receipts, surely=surely)


SCENARIOS = {
    "plain calls": lambda: Calls("plain", {"n": 1}, {"n": 2}, {"n": 3}),
    "a retried call": lambda: Calls("flaky", {"n": 1}, received=2),
    "capped calls": lambda: Calls("capped", {"n": 1}, {"n": 2}, {"n": 3}),
    "a call with an access token": lambda: Calls("guarded", {"n": 1}, received=2),
    "a chain": Chain,
    "a replay": Replay,
}
