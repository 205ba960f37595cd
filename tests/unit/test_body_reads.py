"""Which bodies that are being read are out of time, or exceed the share of their key."""

import time
from contextlib import suppress

import pytest

from api.body_reads import MAX_PIECES, MAX_PIECES_CHUNKED, MAX_SLOW, SLOW_S, BodyReads
from relay.errors import OverCapacity, RequestTimeout
from relay.shares import ALWAYS

TIMEOUT_S = 10


@pytest.fixture
def reads():
    return BodyReads(TIMEOUT_S)


def begun(reads, key, count=1, *, chunked=False):
    return [reads.begin(key, chunked=chunked) for _ in range(count)]


def test_a_body_has_its_time_for_each_piece_and_for_the_whole(reads):
    (read,) = begun(reads, "a")
    now_s = read.started_s
    assert reads.give_up(now_s + TIMEOUT_S - 0.1) == []
    read.piece_s = now_s + TIMEOUT_S - 0.2
    assert reads.give_up(now_s + 2 * TIMEOUT_S - 0.3) == []
    read.piece_s = now_s + MAX_PIECES * TIMEOUT_S - 0.2
    assert reads.give_up(now_s + MAX_PIECES * TIMEOUT_S - 0.1) == []
    assert reads.give_up(now_s + MAX_PIECES * TIMEOUT_S + 0.1) == [read]
    with pytest.raises(RequestTimeout):
        reads.end(read)


def test_a_piece_that_is_late_ends_the_read_and_is_given_up_once(reads):
    (read,) = begun(reads, "a")
    assert reads.give_up(read.started_s + TIMEOUT_S + 0.1) == [read]
    assert reads.give_up(read.started_s + TIMEOUT_S + 0.2) == []


def test_a_chunked_body_comes_in_one_piece_and_has_longer(reads):
    (read,) = begun(reads, "a", chunked=True)
    assert reads.chunked == 1
    assert reads.give_up(read.started_s + MAX_PIECES_CHUNKED * TIMEOUT_S - 0.1) == []
    assert reads.give_up(read.started_s + MAX_PIECES_CHUNKED * TIMEOUT_S + 0.1) == [read]


def test_a_read_that_has_ended_is_not_given_up(reads):
    read = reads.begin("a", chunked=False)
    reads.end(read)
    assert reads.give_up(time.monotonic() + 1000) == []


def test_a_key_gets_no_more_than_its_share_of_what_is_slow(reads):
    greedy, modest = begun(reads, "greedy", 100), begun(reads, "modest", 3)
    given_up = reads.give_up(time.monotonic() + SLOW_S + 0.1)
    kept = [read for read in (*greedy, *modest) if read not in given_up]
    assert all(read.key == "greedy" for read in given_up)
    assert ALWAYS < len(kept) <= MAX_SLOW
    assert set(modest) <= set(kept)
    with pytest.raises(OverCapacity):
        reads.end(given_up[0])
    with pytest.raises(OverCapacity):
        reads.begin("greedy", chunked=False)  # its share is used up
    reads.end(reads.begin("modest", chunked=False))


def test_a_key_whose_slow_bodies_are_gone_may_send_again(reads):
    greedy = begun(reads, "greedy", 100)
    reads.give_up(time.monotonic() + SLOW_S + 0.1)
    for read in greedy:
        with suppress(OverCapacity):
            reads.end(read)
    reads.give_up(time.monotonic())
    reads.end(reads.begin("greedy", chunked=False))


def test_what_comes_quickly_is_no_key_s_share(reads):
    made = begun(reads, "quick", 300)
    assert reads.give_up(made[0].started_s + SLOW_S / 2) == []
    reads.end(reads.begin("quick", chunked=False))
