"""What can do without the shared keys waits for them only for a moment."""

from __future__ import annotations

import pytest

from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.store.api_keys.keys import ApiKeys
from relay.store.backups.epoch import Epochs
from relay.store.decisions.decisions import Decisions
from relay.store.decisions.heads import Heads
from relay.store.health import readiness
from relay.store.health.readiness import ServerWarnings
from relay.store.health.workers import Workers, known_workers
from relay.store.keys.names import SHARED_ROOT
from relay.store.server.availability import patience_s
from relay.store.trail.trail import Trail
from relay.upkeep.checkpointing import Checkpointing
from relay.upkeep.watching import Watching
from relay.vault import Vault

VAULT = Vault.from_text(Vault.new_key_text())
SIGNER = AuditSigner(new_private_text())


def decisions(client):
    return Decisions(client, VAULT, SHARED_ROOT)


#: What is asked, by what asks it.
ASKED = {
    "a chain, for the epoch": (Epochs, "read", lambda client: decisions(client).refresh()),
    "signing, for the epoch": (
        *(Epochs, "read"),
        lambda client: Checkpointing(Trail(client), Epochs(client, VAULT), SIGNER, "w1", retention_ms=1).iterate(),
    ),
    "watching, for decisions": (
        *(Decisions, "look"),
        lambda client: Watching("w1", decisions(client), Heads(client, VAULT)).look(),
    ),
    "who wants to know the workers": (Workers, "alive", lambda client: known_workers(Workers(client))),
    "warnings, for a jump of the clock": (readiness, "_jump_in", lambda client: ServerWarnings(client).now()),
    "the door, for the origins of all keys": (
        ApiKeys,
        "_read_origins",
        lambda client: ApiKeys(client, VAULT).origins(),
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_who_can_go_on_without_an_answer_waits_for_a_moment(redis_client, monkeypatch, name):
    holder, method, act = ASKED[name]
    ask, waited = getattr(holder, method), []

    def noting(*args, **options):
        waited.append(patience_s())
        return ask(*args, **options)

    monkeypatch.setattr(holder, method, noting)
    act(redis_client)
    assert waited
    assert min(waited) > 0
