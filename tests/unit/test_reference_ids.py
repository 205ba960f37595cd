"""Reference ids: their age, and the bucket of the plugin that they were made for."""

import time
from collections import Counter
from uuid import RFC_4122, UUID

import pytest

from api.invocations import REFERENCE_ID
from relay.domain.reference_id import (
    BUCKETS,
    bucket_of,
    bucket_of_plugin,
    new_reference_id,
    reference_id_about,
    reference_time_ms,
    replay_named_by,
)
from relay.store.keys.keyspace import Keyspace


def test_an_id_tells_the_bucket_of_its_plugin_and_its_age():
    made = new_reference_id("acme")
    assert bucket_of(made) == bucket_of_plugin("acme")
    assert reference_time_ms(made) is not None


def test_a_plugin_s_bucket_is_for_good_the_same():
    assert bucket_of_plugin("acme") == 941


def test_ids_of_one_plugin_differ_and_sort_by_time():
    made = [new_reference_id("acme") for _ in range(1_000)]
    assert len(set(made)) == 1_000
    assert made == sorted(made)


def test_an_invalid_id_has_a_bucket_too():
    assert bucket_of("") == bucket_of("nothing") == 0


def test_plugins_spread_over_partitions():
    found = Counter(Keyspace(16).partition_of(f"plugin-{number}") for number in range(4_000))
    assert len(found) == 16
    assert max(found.values()) < 1.5 * min(found.values())
    assert BUCKETS % 16 == 0


def test_one_partition_has_every_plugin():
    assert {Keyspace().root(f"plugin-{number}") for number in range(50)} == {"relay:{0}:"}


def test_the_age_of_an_id_is_the_time_when_it_was_made():
    before_ms = time.time_ns() // 1_000_000
    made_ms = reference_time_ms(new_reference_id("acme"))
    assert before_ms <= made_ms <= time.time_ns() // 1_000_000
    assert reference_time_ms(new_reference_id()) >= before_ms


@pytest.mark.parametrize("at_ms", [0, 1, 1_796_040_000_500, 2**48 - 1])
def test_an_id_that_follows_from_a_text_is_a_uuid_of_its_time_and_plugin_and_the_same_for_everybody(at_ms):
    made = [reference_id_about(what, at_ms, plugin) for what in ("a", "b") for plugin in ("acme", "other")]
    assert len(set(made)) == 4
    assert made[0] == reference_id_about("a", at_ms, "acme")
    for each, plugin in zip(made, ("acme", "other") * 2, strict=True):
        assert (UUID(each).version, UUID(each).variant) == (7, RFC_4122)
        assert REFERENCE_ID.match(each)
        assert (reference_time_ms(each), bucket_of(each)) == (at_ms, bucket_of_plugin(plugin))


@pytest.mark.parametrize(
    "text",
    [
        *("", "x" * 36, "01890000-0000-4000-8000-000000000000", "01890000000070008000000000000000"),
        *("01890000-0000-7000-8000-00000000000", "01890000-0000-7000-8000-0000000000000"),
        "zz890000-0000-7000-8000-000000000000",
    ],
)
def test_what_is_no_reference_id_has_no_age(text):
    assert reference_time_ms(text) is None
    assert replay_named_by(f"replay-{text}") is None


def test_an_alarm_names_a_replay_by_its_prefix_alone():
    made = new_reference_id("acme")
    assert replay_named_by(f"replay-{made}") == made
    assert replay_named_by(made) is None
    assert replay_named_by(f"replay-replay-{made}") is None
    assert replay_named_by("replay-x") is None
