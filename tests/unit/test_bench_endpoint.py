import socket
import threading

from bench.endpoint import EndpointServer
from bench.receipts import EndpointControl

RECEIPTS = 200_000  # their ids are some 9 MB


def test_the_receipts_of_many_calls_are_told_whole():
    listener = socket.create_server(("127.0.0.1", 0))
    server = EndpointServer(listener)
    for number in range(RECEIPTS):
        server._ledger.note(b"%036d" % number)
    threading.Thread(target=server.serve, daemon=True).start()
    assert len(EndpointControl(listener.getsockname()[1]).times()) == RECEIPTS
