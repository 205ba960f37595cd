"""The least that a call through libcurl costs: ``python -m bench.floors.curl URL CALLS`` makes 64 at a time from plain
Python, without a queue, a hub or a record, and prints microseconds of processor a call."""

from __future__ import annotations

import json
import sys
import time
from typing import Final

import pycurl

from bench.contenders.contender import DATA

AT_ONCE: Final = 64


def main() -> None:
    url, left = sys.argv[1], int(sys.argv[2])
    calls, body = left, json.dumps(DATA).encode()
    multi = pycurl.CurlMulti()
    for _ in range(AT_ONCE):
        easy = pycurl.Curl()
        easy.setopt(pycurl.URL, url)
        easy.setopt(pycurl.POSTFIELDS, body)
        easy.setopt(pycurl.HTTPHEADER, ["content-type: application/json", "webhook-id: floor"])
        easy.setopt(pycurl.WRITEFUNCTION, len)
        multi.add_handle(easy)
    out = AT_ONCE
    began_s = time.process_time()
    while out:
        multi.perform()
        more = 1
        while more:
            more, good, bad = multi.info_read()
            if bad:
                raise SystemExit(f"libcurl: {bad[0][2]}")
            for easy in good:
                multi.remove_handle(easy)
                left -= 1
                if left >= out:
                    multi.add_handle(easy)
                else:
                    out -= 1
        multi.select(1.0)
    print((time.process_time() - began_s) / calls * 1e6)


if __name__ == "__main__":
    main()
