"""Measures the cost of work without a clock, by counting the Python functions that it enters."""

from __future__ import annotations

import sys
import threading
from collections import Counter

#: Before Python 3.12 (PEP 709) each comprehension was a function.
COMPREHENSIONS = {"<listcomp>", "<dictcomp>", "<setcomp>"}


class Counted:
    """Counts the Python functions that its thread enters while this context is open."""

    def __init__(self):
        self.functions: Counter[str] = Counter()
        self._thread = threading.get_ident()

    def __enter__(self):
        if sys.version_info >= (3, 12):
            tool, events = sys.monitoring.PROFILER_ID, sys.monitoring.events
            sys.monitoring.use_tool_id(tool, "relay tests")
            sys.monitoring.register_callback(tool, events.PY_START, lambda code, _offset: self._note(code))
            sys.monitoring.set_events(tool, events.PY_START)
        else:
            sys.setprofile(lambda frame, event, _: self._note(frame.f_code) if _begins(frame, event) else None)
        return self

    def __exit__(self, *_):
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(sys.monitoring.PROFILER_ID, 0)
            sys.monitoring.free_tool_id(sys.monitoring.PROFILER_ID)
        else:
            sys.setprofile(None)

    def _note(self, code):
        own = code.co_filename == __file__ or code.co_name in COMPREHENSIONS
        if not own and threading.get_ident() == self._thread:
            self.functions[code.co_qualname] += 1


def _begins(frame, event):
    """Return whether the event enters a function, rather than resumes a generator."""
    return event == "call" and frame.f_code.co_code[frame.f_lasti + 1] == 0  # the argument of RESUME
