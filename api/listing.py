"""The resource that lists a plugin's invocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from api.auth import OPERATE
from api.json_answers import answer_with
from api.queries import ListingQuery, filter_of, read_query
from relay.views import row_of

if TYPE_CHECKING:
    import falcon

    from relay.store.ledger.listing import Listing
    from relay.store.subjects.hashes import SubjectHashes


class ListingResource:
    """`GET /v1/invocations`, newest first, a page at a time."""

    scopes = OPERATE
    query = ListingQuery

    def __init__(self, listing: Listing, subjects: SubjectHashes) -> None:
        self._listing = listing
        self._subjects = subjects

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with one page, and with the cursor of the next."""
        query = read_query(req, self.query)
        plugin = req.context.key.plugin
        wanted = filter_of(query, plugin, self._subjects)
        page = self._listing.page(plugin, wanted, limit=query["limit"], cursor=query.get("cursor"))
        rows = [row_of(invocation) for invocation in page.rows]
        answer_with(resp, orjson.dumps({"invocations": rows, "cursor": page.cursor}))

    on_head = on_get
