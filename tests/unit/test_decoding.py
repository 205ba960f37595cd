"""Answers that take many steps to decode take turns with each other, and with everything else that the loop does."""

from __future__ import annotations

from unittest import mock

import gevent
from gevent import get_hub

from relay.domain.invocation import Outcome, Sent
from relay.outbound.content_coding import Decoder
from relay.outbound.decoding import Decoding
from relay.outbound.heads import Head
from relay.outbound.transfer import TransferResult
from relay.process.clock import boot_time_s
from tests.hostile_answers import MIB, deflated

HEAD = Head([b"HTTP/1.1 200 OK\r\n", b"Content-Encoding: gzip\r\n", b"\r\n"])
CONTENT = bytes(range(256)) * 2048  # takes eight steps


def result():
    return TransferResult(Outcome.ANSWERED, Sent.ANSWERED, 200, HEAD, deflated(CONTENT, 31))


def decode_at_once(count):
    """Decode so many answers side by side; return whose steps were made, and in which iterations of the loop."""
    decoding, steps, looks = Decoding(), [], [0]
    watcher = get_hub().loop.check()
    real = Decoder.step

    def step(decoder):
        steps.append((id(decoder), looks[0]))
        real(decoder)

    def look():
        looks[0] += 1

    watcher.start(look)
    with mock.patch.object(Decoder, "step", step):
        made = [gevent.spawn(decoding.decoded, result(), MIB, boot_time_s() + 60) for _ in range(count)]
        gevent.joinall(made)
    watcher.stop()
    watcher.close()
    assert {(each.get().body == CONTENT, each.get().received_bytes) for each in made} == {(True, len(CONTENT))}
    return steps


def test_an_iteration_of_the_loop_has_one_step_however_many_answers_there_are():
    steps = decode_at_once(10)
    assert len(steps) > 60
    iterations = [look for _, look in steps[10:]]  # all but the first steps
    assert len(set(iterations)) == len(iterations)


def test_answers_are_decoded_side_by_side_not_one_after_the_other():
    steps = [decoder for decoder, _ in decode_at_once(4)]
    order = [steps[:4].index(decoder) for decoder in steps]
    assert order == [0, 1, 2, 3] * (len(steps) // 4)


def test_an_answer_of_one_step_that_came_in_time_is_decoded_even_at_the_deadline():
    short = result()._replace(body=deflated(b"short", 31))
    assert Decoding().decoded(short, MIB, boot_time_s()).body == b"short"
    late = TransferResult(Outcome.ANSWER_TIMEOUT, Sent.MAYBE, received_bytes=len(result().body))
    assert Decoding().decoded(result(), MIB, boot_time_s()) == late


def test_of_an_answer_that_cannot_be_decoded_the_bytes_that_came_are_counted():
    cut = result()._replace(body=result().body[:-1])
    refused = TransferResult(Outcome.ANSWER_REJECTED, Sent.ANSWERED, received_bytes=len(cut.body))
    assert Decoding().decoded(cut, MIB, boot_time_s() + 60) == refused
