"""The resource that serves metrics to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.auth import METRICS
from relay.metrics.page import MEDIA_TYPE

if TYPE_CHECKING:
    import falcon

    from relay.metrics.page import MetricsPage


class MetricsResource:
    """`GET /metrics`: for keys with the scope `metrics`, or open to all."""

    def __init__(self, page: MetricsPage, *, is_open: bool) -> None:
        self._page = page
        self.scopes = frozenset[str]() if is_open else METRICS

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the metrics of the whole relay, and of this process."""
        resp.set_header("Cache-Control", "no-store")
        resp.content_type, resp.data = MEDIA_TYPE, self._page.text()

    on_head = on_get
