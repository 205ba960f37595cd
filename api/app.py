"""Makes the WSGI application: its routes, its middleware, and the problem document of every error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import falcon
from falcon.routing import CompiledRouter

from api.auth import Authentication
from api.bodies import Bodies
from api.door import ApiRequest, Door
from api.health import HealthResource, ReadyResource
from api.hosts import Hosts
from api.invocations import InvocationResource, ListingResource, OutlineResource
from api.overview import (
    GroupsResource,
    LanesResource,
    MetricsResource,
    StatsResource,
    TrafficResource,
    WebhookSteeringResource,
)
from api.problems import from_framework, problem_of
from api.publication import PAGE_HEADERS, STATIC, FrontResource, PublicationResource, published_files
from api.reference.document import make_document
from api.reference.page import make_page
from api.replays import ReplayResource, ReplaysResource, ReplaySteeringResource
from api.results import Results
from api.triggers import TriggerResource, TriggersResource
from api.webhooks import WebhooksResource
from relay.authentication.source_address import FailedAuthentications, SourceAddresses
from relay.declarations.typescript import MEDIA_TYPE, MODULE_TYPES
from relay.errors import Internal, RelayError
from relay.store.health.readiness import ServerWarnings
from relay.store.ledger.rates import PluginRates
from relay.telemetry.log import fault
from relay.telemetry.spans import make_spans
from relay.text.media_types import JSON_TYPE
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from api.awaiting import Waiters
    from api.request_audit import ActCounts
    from api.request_log import RequestLog
    from relay.settings import Settings
    from relay.store.ledger.invocations import InvocationStore
    from relay.wiring.runtime import Runtime

_App: TypeAlias = "falcon.App[ApiRequest, falcon.Response]"
_COUNTED: Final = frozenset({400, 413, 415})  # malformed requests leave a counter instead of a record


class Router(CompiledRouter):
    """Lets every route that answers GET answer HEAD in the same way; the server leaves out the body."""

    def map_http_methods(self, resource: object, **arguments: Any) -> dict[str, Any]:
        """Return the resource's method for each HTTP method."""
        found = dict(super().map_http_methods(resource, **arguments))
        return found | {"HEAD": found["GET"]} if "GET" in found else found


def create_app(
    settings: Settings, runtime: Runtime, waiters: Waiters, act_counts: ActCounts, request_log: RequestLog
) -> _App:
    """Make the application; the caller has to start ``waiters``, ``act_counts`` and ``request_log``."""
    bodies = Bodies(max_bytes=settings.max_body_bytes, max_parsing_bytes=settings.max_parsing_bytes)
    door = _door(settings, runtime, act_counts, request_log)
    app = falcon.App(request_type=ApiRequest, middleware=door, router=Router())
    handlers = ErrorHandlers(runtime.store)  # Falcon calls the one for the nearest class of an error
    app.add_error_handler(Exception, handlers.unexpected)
    app.add_error_handler(falcon.HTTPError, handlers.framework)
    app.add_error_handler(RelayError, handlers.relay)
    _route_calls(app, settings, runtime, waiters, bodies)
    _route_replays(app, runtime, bodies)
    _route_overview(app, runtime)
    app.add_route("/metrics", MetricsResource(runtime.metrics_page, is_open=settings.metrics_open))
    app.add_route("/healthz", HealthResource())
    warnings = ServerWarnings(runtime.client)
    ready = ReadyResource(runtime.partitions, runtime.functions, runtime.epochs, runtime.workers, warnings)
    app.add_route("/readyz", ready)
    _publish(app)
    return app


def _door(settings: Settings, runtime: Runtime, act_counts: ActCounts, request_log: RequestLog) -> Door:
    """Make the middleware."""
    hosts = Hosts(settings.public_hosts, settings.api_url)
    failures = FailedAuthentications(SourceAddresses(settings.trusted_proxies), settings.auth_failures)
    authentication = Authentication(runtime.api_keys, failures, hosts)
    return Door(hosts, authentication, make_spans(settings, "api"), act_counts, request_log)


def _route_calls(app: _App, settings: Settings, runtime: Runtime, waiters: Waiters, bodies: Bodies) -> None:
    """Add the routes of webhooks, triggers and invocations."""
    dispatcher, store, registry, vault = runtime.dispatcher, runtime.store, runtime.registry, runtime.data_vault
    results = Results(store, vault)
    rates = PluginRates(runtime.client, settings.plugin_rate, runtime.keyspace)
    trigger = TriggerResource(
        dispatcher, store, waiters, results, rates, bodies, default_wait_s=settings.default_wait_s
    )
    app.add_route("/v1/webhooks/{webhook_id}/trigger", trigger)
    app.add_route("/v1/triggers", TriggersResource(dispatcher, rates, bodies))
    webhooks = WebhooksResource(registry)
    app.add_route("/v1/webhooks", webhooks)
    app.add_route("/v1/webhooks.d.ts", webhooks, suffix="types")
    app.add_route("/v1/webhooks/{webhook_id}", webhooks, suffix="one")
    app.add_route("/v1/invocations", ListingResource(runtime.listing, runtime.subject_hashes))
    app.add_route("/v1/invocations/{reference_id}", InvocationResource(store, registry, waiters, results))
    app.add_route("/v1/invocations/{reference_id}/request", OutlineResource(store, registry, vault))


def _route_replays(app: _App, runtime: Runtime, bodies: Bodies) -> None:
    """Add the routes of replay jobs."""
    replays = runtime.replays
    app.add_route("/v1/replays", ReplaysResource(replays, runtime.subject_hashes, bodies, runtime.audit_writer))
    app.add_route("/v1/replays/{replay_id}", ReplayResource(replays))
    steering = {"pause": replays.pause, "resume": replays.resume, "cancel": replays.cancel}
    for action, steer in steering.items():
        app.add_route(f"/v1/replays/{{replay_id}}/{action}", ReplaySteeringResource(steer))


def _route_overview(app: _App, runtime: Runtime) -> None:
    """Add the routes with which operators watch traffic and steer webhooks."""
    app.add_route("/v1/stats", StatsResource(runtime.measures))
    app.add_route("/v1/lanes", LanesResource(runtime.backlog, runtime.workers))
    app.add_route("/v1/groups", GroupsResource(runtime.listing))
    traffic = runtime.traffic
    app.add_route("/v1/traffic", TrafficResource(traffic))
    steering = {"pause": traffic.pause, "resume": traffic.resume, "close-breaker": traffic.close_breaker}
    for action, steer in steering.items():
        app.add_route(f"/v1/webhooks/{{webhook_id}}/{action}", WebhookSteeringResource(steer))


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
    for route, resource in published_files():
        app.add_route(route, resource)


class ErrorHandlers:
    """Turns every error into its problem document."""

    def __init__(self, store: InvocationStore) -> None:
        self._store = store

    def relay(self, req: falcon.Request, resp: falcon.Response, error: RelayError, _params: dict[str, Any]) -> None:
        """Answer with the problem document of an error that the relay raised."""
        problem, context = problem_of(error), req.context
        context.code = problem.document["code"]
        context.reference_id = error.reference_id or context.reference_id
        if problem.status == 500:
            fault(error, "api")
            if context.reference_id:  # the caller needs it to ask for the result later
                problem.document["referenceId"] = context.reference_id
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
