"""What a process is given reaches its parts, and what it opens it closes."""

from __future__ import annotations

import json
import resource
from contextlib import closing

import pytest

from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from relay.errors import SettingsError
from relay.queue import make_app
from relay.rotation.ring_file import RingFile
from relay.settings import Settings
from relay.store.keys import keyspace
from relay.store.keys.names import SHARED_ROOT, partition_root
from relay.store.server.clock import time_ms_at
from relay.wiring.runtime import api_runtime, cli_runtime
from relay.wiring.worker_runtime import worker_parts
from tests.store_keys import KEYS
from tests.timing import ANSWER_S, wait_until
from tests.unit.cli import a_webhook


def settings_of(cli, **more):
    return Settings.from_environ(cli.environ | more)


def without(cli, name):
    return Settings.from_environ({each: text for each, text in cli.environ.items() if each != name})


def test_targets_are_opened_by_commands_and_workers_and_never_by_the_api(cli):
    settings = settings_of(cli)
    with closing(api_runtime(settings)) as api, closing(cli_runtime(settings)) as command:
        assert (api.target_vault, command.target_vault is None) == (None, False)
        cli.apply(a_webhook())
        assert command.registry.open_target("acme", "ping", 1).headers["Authorization"].startswith("Bearer")
        with pytest.raises(SettingsError):
            api.registry.open_target("acme", "ping", 1)
    with closing(cli_runtime(without(cli, "RELAY_TARGET_KEYS"))) as command:
        assert command.target_vault is None


def test_without_the_data_ring_nothing_is_sealed_and_the_setting_is_named(cli):
    runtime = cli_runtime(without(cli, "RELAY_DATA_KEYS"))
    with closing(runtime), pytest.raises(SettingsError, match=r"RELAY_DATA_KEYS is not set: .*RELAY_DATA_KEYS_FILE"):
        _ = runtime.data_vault


def test_a_ring_in_a_file_is_followed_and_one_in_the_environment_stays_as_it_was(cli, monkeypatch):
    monkeypatch.setattr("relay.vault.FILE_AGE_S", 0.0)
    constant = cli.runtime()
    before = [constant.data_vault.key_ids, constant.target_vault.key_ids]
    cli.use_ring_files()
    following = cli.runtime()
    for ring, vault in (("data", following.data_vault), ("target", following.target_vault)):
        added = RingFile(ring, cli.directory / f"{ring}.keys").add()
        assert vault.key_ids[1:] == (added,)
    assert [constant.data_vault.key_ids, constant.target_vault.key_ids] == before


@pytest.mark.parametrize("margin_s", [5, 60])
def test_a_call_is_leased_for_its_timeout_and_the_margin_of_the_settings(cli, margin_s):
    cli.apply(a_webhook(timeout=7))
    reference_id = new_reference_id("acme")
    with closing(cli_runtime(settings_of(cli, RELAY_LEASE_MARGIN=str(margin_s)))) as runtime:
        runtime.dispatcher.trigger(TriggerRequest("acme", "ping", {}, reference_id, "k1"))
        begun_ms = time_ms_at(runtime.client, SHARED_ROOT)
        assert runtime.store.claim([reference_id], "t").granted == {reference_id}
        ended_ms = time_ms_at(runtime.client, SHARED_ROOT)
        ends_ms = int(runtime.client.hget(KEYS.record(reference_id), "leaseEnd"))
    assert begun_ms <= ends_ms - (7 + margin_s) * 1000 <= ended_ms


def test_a_worker_makes_sure_that_it_may_open_as_many_connections_as_its_calls_need(cli, monkeypatch):
    settings = settings_of(cli, RELAY_MAX_IN_FLIGHT="2000")
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 1_024))
    with pytest.raises(SettingsError, match="RELAY_MAX_IN_FLIGHT is 2000"):
        worker_parts(settings, make_app(settings), "w1", ["bulk"])


def test_a_worker_tells_others_under_its_name_how_far_it_has_read(cli, valkey):
    cli.apply(a_webhook())
    settings = settings_of(cli)
    with (
        valkey.client() as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
        closing(worker_parts(settings, make_app(settings), "w1", ["bulk"])) as parts,
    ):
        channel.subscribe(keyspace.heads())
        assert channel.get_message(timeout=ANSWER_S) is None, "it is subscribed"
        for watching in parts.watching:
            watching.look()
        heard = [channel.get_message(timeout=ANSWER_S)["data"] for _ in parts.watching]
    told = [json.loads(each.partition(b"\n")[2]) for each in heard]
    assert {name for name, *_ in told} == {"w1"}
    assert {root for _, root, *_ in told} == {SHARED_ROOT, partition_root(0)}
    assert max(seq for _, _, _, seq, *_ in told) > 0


def test_a_process_that_is_over_has_closed_its_connections_and_opens_none_to_do_so(cli, valkey):
    cli.apply(a_webhook())
    with valkey.client() as client:
        before = client.info("clients")["connected_clients"]
        runtime = cli_runtime(settings_of(cli))
        runtime.dispatcher.trigger(TriggerRequest("acme", "ping", {}, new_reference_id("acme"), "k1"))
        assert client.info("clients")["connected_clients"] > before
        runtime.close()
        wait_until(lambda: client.info("clients")["connected_clients"] == before, otherwise="one is left open")
        unused = cli_runtime(settings_of(cli))
        unused.close()
        assert not {"client", "publisher", "dispatcher"} & vars(unused).keys()


def test_the_acts_of_a_command_are_its_operator_s_whether_a_script_writes_them_or_not(cli):
    cli.apply(a_webhook())
    reference_id = cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"]
    with closing(cli_runtime(settings_of(cli, RELAY_OPERATOR="ann"))) as runtime:
        runtime.audit_writer.write("key_list")
        runtime.store.cancel(reference_id)
        runtime.dispatcher.trigger(TriggerRequest("acme", "ping", {}, new_reference_id("acme"), "cli"))
    for act in ("key_list", "cancel", "trigger"):
        assert cli.json("audit", "list", "--act", act)[0]["operator"] == "ann"
