"""Restarts the process, when imported, if its environment has variables that libraries would obey unasked.

Programs import it before anything else, since whatever is loaded before it is loaded twice.
"""

from __future__ import annotations

from relay.process.foreign import start_anew_without_foreign

start_anew_without_foreign()
