"""A command closes what it opens, and test files that leave descriptors open are detected."""

import gc
import socket
import threading

from tests import descriptors
from tests.unit.cli import a_webhook


def test_commands_leave_no_connection_and_no_thread(cli):
    cli.apply(a_webhook())
    descriptors_before, threads_before = descriptors.count(), set(threading.enumerate())
    for _ in range(5):
        cli.json("trigger", "ping", "--plugin", "acme", "--async", "--data", "{}")
        cli.json("invocations", "list", "--plugin", "acme")
    for thread in set(threading.enumerate()) - threads_before:
        thread.join(20)
        assert not thread.is_alive(), thread.name
    assert descriptors.count() <= descriptors_before


def test_what_is_left_open_is_counted_but_for_what_is_collected_and_what_others_have_connected():
    gc.collect()  # otherwise descriptors that earlier tests left might be closed in between
    before = descriptors.count()
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as server:
        for _ in range(descriptors.MOST_LEFT + 1):
            loop = [socket.socket()]
            loop.append(loop)  # only a garbage collection closes it
        del loop
        assert descriptors.left_since(before) == 0
        left = [socket.create_connection(server.getsockname()) for _ in range(2 * descriptors.MOST_LEFT)]
        accepted = [server.accept()[0] for _ in left]
        # Besides these the server is open; and something that earlier tests left may be closed by now.
        assert descriptors.MOST_LEFT < descriptors.left_since(before, within_s=0.2) <= len(left) + 1
        for each in left:
            each.close()
        assert descriptors.left_since(before) == 0
        for each in accepted:
            each.close()
