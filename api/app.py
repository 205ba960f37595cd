"""Makes the WSGI application: its routes, its middleware, and the problem document of every error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import falcon

from api.auth import Authentication, CrossOrigin
from api.console import console_resources
from api.door import ApiRequest, Door
from api.health import HealthResource, ReadyResource
from api.hosts import Hosts
from api.invocations import InvocationResource
from api.lanes import LanesResource
from api.listing import ListingResource
from api.metrics import MetricsResource
from api.outlines import OutlineResource
from api.problems import from_framework, problem_of
from api.publication import STATIC, FrontResource, PublicationResource
from api.reference.document import make_document
from api.reference.page import PAGE_FILES, PAGE_HEADERS, make_page
from api.replays import ReplayResource, ReplaysResource, ReplaySteeringResource
from api.results import Results
from api.stats import GroupsResource, StatsResource
from api.traffic import TrafficResource, WebhookSteeringResource
from api.triggers import TriggerResource, TriggersResource
from api.webhooks import WebhookResource, WebhooksResource, WebhookTypesResource
from relay.authentication.source_address import FailedAuthentications
from relay.declarations.typescript import MEDIA_TYPE, MODULE_TYPES
from relay.errors import Internal, RelayError
from relay.telemetry.log import fault
from relay.text.media_types import JSON_TYPE
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from api.awaiting import Waiters
    from api.bodies import Bodies
    from api.request_audit import ActCounts
    from api.request_log import RequestLog
    from relay.accept.dispatcher import Dispatcher
    from relay.authentication.source_address import SourceAddresses
    from relay.metrics.page import MetricsPage
    from relay.replay.planning import Replays
    from relay.settings import Settings
    from relay.store.api_keys.keys import ApiKeys
    from relay.store.backups.epoch import Epochs
    from relay.store.counts.backlog import Backlog
    from relay.store.counts.measures import Measures
    from relay.store.health.readiness import ServerWarnings
    from relay.store.health.workers import Workers
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.listing import Listing
    from relay.store.ledger.rates import PluginRates
    from relay.store.partitions.reachable import Partitions
    from relay.store.registry.webhooks import Registry
    from relay.store.scripting.loading import Functions
    from relay.store.subjects.hashes import SubjectHashes
    from relay.store.trail.writer import AuditWriter
    from relay.telemetry.spans import Spans
    from relay.traffic import TrafficControl
    from relay.vault import Vault

_App: TypeAlias = "falcon.App[ApiRequest, falcon.Response]"
_COUNTED: Final = frozenset({400, 413, 415})  # malformed requests leave a counter instead of a record


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects that the application works with; the caller has to start ``waiters``."""

    api_keys: ApiKeys
    store: InvocationStore
    data_vault: Vault
    dispatcher: Dispatcher
    waiters: Waiters
    rates: PluginRates
    partitions: Partitions
    functions: Functions
    epochs: Epochs
    warnings: ServerWarnings
    workers: Workers
    listing: Listing
    subject_hashes: SubjectHashes
    replays: Replays
    measures: Measures
    traffic: TrafficControl
    backlog: Backlog
    metrics_page: MetricsPage
    spans: Spans
    registry: Registry
    bodies: Bodies
    addresses: SourceAddresses
    audit_writer: AuditWriter
    act_counts: ActCounts
    request_log: RequestLog


def create_app(settings: Settings, parts: Parts) -> _App:
    """Make the application from the given parts."""
    app = falcon.App(request_type=ApiRequest, middleware=_door(settings, parts))
    _add_error_handlers(app, ErrorHandlers(parts.store))
    _route_calls(app, settings, parts)
    _route_replays(app, parts)
    _route_overview(app, parts)
    app.add_route("/metrics", MetricsResource(parts.metrics_page, is_open=settings.metrics_open))
    app.add_route("/healthz", HealthResource())
    ready = ReadyResource(parts.partitions, parts.functions, parts.epochs, parts.workers, parts.warnings)
    app.add_route("/readyz", ready)
    _publish(app)
    return app


def _door(settings: Settings, parts: Parts) -> Door:
    """Make the middleware."""
    hosts = Hosts(settings.public_hosts, settings.api_url)
    failures = FailedAuthentications(parts.addresses, settings.auth_failures)
    return Door(
        hosts,
        Authentication(parts.api_keys, failures, hosts),
        CrossOrigin(parts.api_keys),
        parts.spans,
        parts.act_counts,
        parts.request_log,
    )


def _add_error_handlers(app: _App, handlers: ErrorHandlers) -> None:
    """Add the error handlers; Falcon calls the one for the nearest class of an error."""
    app.add_error_handler(Exception, handlers.unexpected)
    app.add_error_handler(falcon.HTTPError, handlers.framework)
    app.add_error_handler(RelayError, handlers.relay)


def _route_calls(app: _App, settings: Settings, parts: Parts) -> None:
    """Add the routes of webhooks, triggers and invocations."""
    results = Results(parts.store, parts.data_vault)
    app.add_route(
        "/v1/webhooks/{webhook_id}/trigger",
        TriggerResource(
            parts.dispatcher,
            parts.store,
            parts.waiters,
            results,
            parts.rates,
            parts.bodies,
            default_wait_s=settings.default_wait_s,
        ),
    )
    app.add_route("/v1/triggers", TriggersResource(parts.dispatcher, parts.rates, parts.bodies))
    app.add_route("/v1/webhooks", WebhooksResource(parts.registry))
    app.add_route("/v1/webhooks.d.ts", WebhookTypesResource(parts.registry))
    app.add_route("/v1/webhooks/{webhook_id}", WebhookResource(parts.registry))
    app.add_route("/v1/invocations", ListingResource(parts.listing, parts.subject_hashes))
    app.add_route("/v1/invocations/{reference_id}", InvocationResource(parts.store, parts.waiters, results))
    app.add_route(
        "/v1/invocations/{reference_id}/request", OutlineResource(parts.store, parts.registry, parts.data_vault)
    )


def _route_replays(app: _App, parts: Parts) -> None:
    """Add the routes of replay jobs."""
    app.add_route("/v1/replays", ReplaysResource(parts.replays, parts.subject_hashes, parts.bodies, parts.audit_writer))
    app.add_route("/v1/replays/{replay_id}", ReplayResource(parts.replays))
    for action, resource in ReplaySteeringResource.by_action(parts.replays).items():
        app.add_route(f"/v1/replays/{{replay_id}}/{action}", resource)


def _route_overview(app: _App, parts: Parts) -> None:
    """Add the routes with which operators watch traffic and steer webhooks."""
    app.add_route("/v1/stats", StatsResource(parts.measures))
    app.add_route("/v1/lanes", LanesResource(parts.backlog, parts.workers))
    app.add_route("/v1/groups", GroupsResource(parts.listing))
    app.add_route("/v1/traffic", TrafficResource(parts.traffic))
    for action, resource in WebhookSteeringResource.by_action(parts.traffic).items():
        app.add_route(f"/v1/webhooks/{{webhook_id}}/{action}", resource)


def _publish(app: _App) -> None:
    """Add the public routes: the client module, the API document with its page, and the console."""
    document = make_document()
    script = (STATIC / "webhooks.js").read_bytes()
    types = {"X-TypeScript-Types": "webhooks.d.ts"}  # where Deno looks for them
    app.add_route("/webhooks.js", PublicationResource(script, "text/javascript; charset=utf-8", types))
    app.add_route("/webhooks.d.ts", PublicationResource(MODULE_TYPES.encode(), MEDIA_TYPE))
    app.add_route("/openapi.json", PublicationResource(dump_json(document), JSON_TYPE))
    app.add_route("/docs", PublicationResource(make_page(document).encode(), "text/html; charset=utf-8", PAGE_HEADERS))
    app.add_route("/", FrontResource())
    for name, (content, media_type) in PAGE_FILES.items():
        app.add_route(f"/docs/{name}", PublicationResource(content, media_type))
    for route, resource in console_resources():
        app.add_route(route, resource)


class ErrorHandlers:
    """Turns every error into its problem document."""

    def __init__(self, store: InvocationStore) -> None:
        self._store = store

    def relay(self, req: falcon.Request, resp: falcon.Response, error: RelayError, _params: dict[str, Any]) -> None:
        """Answer with the problem document of an error that the relay raised."""
        problem = problem_of(error)
        if problem.status == 500:
            fault(error, "api")
        req.context.code = problem.document["code"]
        if error.reference_id:
            req.context.reference_id = error.reference_id
        if problem.status in _COUNTED:
            self._count(req, problem.document["code"])
        problem.write(resp)

    def framework(
        self, req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: dict[str, Any]
    ) -> None:
        """Answer an error that Falcon raised: an unknown route, or a method that a route does not have."""
        self.relay(req, resp, from_framework(error), params)
        allow = dict(error.headers or {}).get("Allow")
        if allow:
            resp.set_header("Allow", allow)

    def unexpected(self, req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]) -> None:
        """Answer an unforeseen error with `internal`; log its kind and line, which the caller does not see."""
        fault(error, "api")
        problem = problem_of(Internal(reference_id=req.context.reference_id))
        req.context.code = problem.document["code"]
        problem.write(resp)

    def _count(self, req: falcon.Request, code: str) -> None:
        key = req.context.key
        if key is None:
            return
        try:
            self._store.count(key.plugin, code)
        except RelayError as error:
            fault(error, "api")
