"""Reference ids: their age, and the bucket of the plugin that they were made for."""

from collections import Counter

from relay.domain.reference_id import BUCKETS, bucket_of, bucket_of_plugin, new_reference_id, reference_time_ms
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
