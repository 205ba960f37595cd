"""`python -m relay.store.scripting`: prints the library as the server loads it, for linters."""

from __future__ import annotations

import sys

from relay.store.scripting.library import library

sys.stdout.write(library().text)
