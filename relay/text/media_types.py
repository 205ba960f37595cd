"""The media types that requests, answers and registrations have in common."""

from __future__ import annotations

from typing import Final

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
BYTES_TYPE: Final = "application/octet-stream"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
