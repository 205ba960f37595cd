"""Starts a process of this package anew, when imported, if it has variables that its libraries would obey unasked.

Programs import it before anything else, since everything that is loaded before is loaded twice.
"""

from __future__ import annotations

from relay.process.foreign import start_anew_without_foreign

start_anew_without_foreign()
