"""Long computations run in a thread, and many short ones leave room for others in between."""

from __future__ import annotations

import json
import threading

import gevent
import pytest

from relay.executor.large_work import LARGE_BYTES, let_others_run, making_bytes, run_in_thread_if_large
from tests.stretches import stretches
from tests.timing import least

SHORT = "[" + "[]," * ((LARGE_BYTES - 10) // 3) + "0]"  # just not large, and slow to parse
MAX_DELAY_S = 0.05


@pytest.mark.parametrize(("size_bytes", "is_apart"), [(0, False), (LARGE_BYTES - 1, False), (LARGE_BYTES, True)])
def test_work_runs_in_another_thread_from_a_size_on(size_bytes, is_apart):
    assert (run_in_thread_if_large(size_bytes, threading.get_ident) != threading.get_ident()) is is_apart


def test_a_fault_of_the_work_is_raised():
    for size_bytes in (1, LARGE_BYTES):
        with pytest.raises(ZeroDivisionError):
            run_in_thread_if_large(size_bytes, lambda: 1 / 0)


def test_many_short_pieces_of_work_let_others_run_in_between():
    def read_all():
        return [run_in_thread_if_large(len(SHORT), json.loads, SHORT) for _ in range(200)]

    def delay_s():
        with stretches() as measured:
            assert len(gevent.spawn(read_all).get()) == 200
        return measured.longest_s

    assert least(delay_s, wanted=MAX_DELAY_S) <= MAX_DELAY_S


def test_a_few_short_pieces_are_not_interrupted():
    order = []
    let_others_run()  # the count begins anew
    other = gevent.spawn(order.append, "other")
    for _ in range(10):
        run_in_thread_if_large(LARGE_BYTES // 1_000, order.append, "own")
    other.join()
    assert order == ["own"] * 10 + ["other"]


def test_the_work_of_making_a_mask_grows_with_all_texts_together():
    one = making_bytes(["x"])
    assert one > 0
    assert making_bytes([]) == 0
    assert making_bytes(["xx", "x", "xxxx"]) == 7 * one
