"""A compiled system behind its edge: operations over every protocol, and what an app answers by itself."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import structs

from toque.cache.counts import counts, gauges, live_counts, live_gauges
from toque.cache.live import why_not_live
from toque.call import logs
from toque.call.context import Context
from toque.call.counts import Count
from toque.call.plan import Plan
from toque.call.tasks import cancel
from toque.codecs.codec import CODECS
from toque.contract.complaints import Complaint, SetupError
from toque.contract.errors import Unavailable
from toque.contract.module import Module
from toque.contract.signature import Place
from toque.store.preparation import head
from toque.store.release import Release
from toque.system import System, Tables, compile_system
from toque.transports.arguments import plain_reader
from toque.transports.bodies import BodyLimits, late_reader
from toque.transports.cors import Cors
from toque.transports.events import Events
from toque.transports.formats import offers_of
from toque.transports.health import Health
from toque.transports.http import HttpOperation
from toque.transports.jsonrpc import JsonRpc
from toque.transports.metrics import Metrics, metrics_endpoint
from toque.transports.mounted import Mounted
from toque.transports.paced import end_streams
from toque.transports.repeats import Repeated, Repeats
from toque.transports.replies import EVENTS
from toque.transports.router import REST, Endpoint, Router
from toque.transports.rpc import http_endpoint
from toque.transports.rsgi import ENDING, STOPPING, Edge, HostRule
from toque.transports.websocket import WebSockets

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.app import App
    from toque.contract.manifest import Manifest, Offered
    from toque.settings import Settings
    from toque.store.insight.measures import Measuring
    from toque.transports.pages import Pages

__all__ = ["Serving", "database_url"]

log = logging.getLogger("toque.serving")

SEED_S = 60.0
"""How long a seed may take: it is the first start's own wait, and nobody else's."""

TELL_S = 5.0
"""Within this time the other workers know what this one counted beside its calls: scrapes come every 15 s or less
often."""

LEAVING_S = 0.8
"""How long a stopping worker goes on answering while it asks every client to leave its connection."""

SOCKETS_S = 5.0
"""How long the calls on open sockets may go on when the server stops: they are as short as any others, and
what they wait for is not more likely to come later."""

Document = Literal["openapi", "asyncapi", "manifest"]


class Serving:
    """An app that can be served: an RSGI application with a beginning and an end.

    Args:
        figures_folder: where the workers of one server show one another their figures.
    """

    def __init__(self, app: App, settings: Settings, *, figures_folder: Path | None = None) -> None:
        self.app = app
        self.settings = settings
        self.figures_folder = figures_folder
        pages, complaints = _pages_of(app.modules, settings)
        complaints += _complaints_about_files(app.modules)
        url = database_url(settings, app.folder)
        tables = Tables(app.metadata, app.sql)
        self.system: System = compile_system(app.modules, settings, url, complaints, _release(app), tables=tables)
        if self.system.store is not None and app.metadata is not None:
            self.system.store.enforce(app.metadata)
        self.metrics = Metrics(
            self.system.figures,
            figures_folder,
            self.system.lines,
            measuring=self._measuring(),
            counts=self._counts,
            gauges=self._gauges,
        )
        self._limits = BodyLimits(settings.http.body_bytes_max, settings.http.body_timeout_s)
        self._pages = pages
        mounts = [mount for module in app.modules for mount in module.mounts]
        self._mounted = [(mount.path, Mounted(mount.asgi, mount.path)) for mount in mounts]
        self._sockets = self._websockets()
        self._end_tracing: Callable[[], None] = lambda: None
        self._closing: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self.on_sockets_closed: Callable[[], None] = lambda: None
        """What is told, after `begin_stopping`, that no socket is open any more and clients had the time to leave."""
        self.on_streams_ended: Callable[[], None] = lambda: None
        """What is told, after `end_streams`, that nothing is streamed any more."""
        self.edge = self._compile_edge()
        self.__rsgi__ = self.edge.__call__  # Python enters a method faster than an object that can be called.

    # From the declaration to the edge.

    def _compile_edge(self) -> Edge:
        http = self.settings.http
        router = Router()
        self._repeats = Repeats(router.remember)
        router.route("*")  # The server as a whole, which has OPTIONS alone (RFC 9110, 9.3.7).
        self._route_operations(router)
        for path, endpoint in self._own_endpoints():
            router.route(path).methods.setdefault("GET", endpoint)
        router.route("/rpc").methods.setdefault("POST", self._rpc())
        _route_files(router, self.app.modules)
        _route_mounted(router, self._mounted)
        return Edge(router, HostRule(http.hosts), self._cors() if http.cors_origins else None, self._sockets)

    def _cors(self) -> Cors:
        http = self.settings.http
        signatures = [plan.signature for plan in self.system.plans.values()]
        inputs = {found.wire_name.lower() for each in signatures for found in each.places(Place.HEADER)}
        return Cors(http.cors_origins, with_credentials=http.cors_credentials, inputs=inputs)

    def _route_operations(self, router: Router) -> None:
        for plan in self.system.plans.values():
            operation = plan.operation
            if operation.path is not None:
                methods = router.route(operation.path).methods
                _compile_late(methods, operation.method, partial(self._http_endpoint, plan))

    def _http_endpoint(self, plan: Plan) -> Endpoint:
        live, why_not = self.system.live, self._why_not_live(plan)
        events = Events(live, plan) if live is not None and why_not is None else None
        offers = offers_of(plan, self._pages, why_not_live=why_not)
        read_plain = plain_reader(plan.signature, plan.operation.path)
        limits = BodyLimits(self._body_bytes_max(plan), self._limits.seconds_max)
        read_late = late_reader(plan.operation, plan.signature, read_plain, limits)
        compress_from = self.settings.http.compress_bytes_min
        return HttpOperation(
            plan,
            offers,
            read_plain,
            read_late,
            compress_from,
            limits=limits,
            events=events,
            repeated=self._repeated(plan),
        ).endpoint

    def _repeated(self, plan: Plan) -> Repeated | None:
        """Who knows the requests for *plan*, where its answer is anybody's and no single call is told of."""
        operation, cache = plan.operation, self.system.cache
        assert operation.allow is not None, "an operation without an access rule is refused before"
        tells_of_each = self.settings.observe.traces or self.settings.log.calls == "all"
        if cache is None or not plan.is_cached or operation.method != "GET":
            return None
        if operation.allow.needs_principal or tells_of_each:
            return None
        return Repeated(self._repeats, cache.queries[operation.name], self.system.figures[operation.name])

    def _why_not_live(self, plan: Plan) -> str | None:
        """Why its answer cannot be followed at its URL, which may want no words; None where it can."""
        if plan.operation.method != "GET":
            return ""
        why_not = why_not_live(plan, self.system.cache)
        return why_not if why_not or self.system.live is None else None

    def _own_endpoints(self) -> Iterator[tuple[str, Endpoint]]:
        gate = self.system.gate
        yield from Health(lambda: self.edge.is_stopping, lambda: gate.is_full).endpoints().items()
        is_development = not self.settings.is_production
        if _chosen(self.settings.http.docs, is_development):
            from toque.console.docs import docs_endpoints
            from toque.transports.document import document_endpoint

            yield "/openapi.json", document_endpoint(lambda root: self.document("openapi", root))
            if self.system.messages is not None:
                yield "/asyncapi.json", document_endpoint(lambda root: self.document("asyncapi", root))
            yield from docs_endpoints().items()
        if _chosen(self.settings.observe.metrics, is_development):
            yield "/metrics", metrics_endpoint(self.metrics)

    def _rpc(self) -> Endpoint:
        jsonrpc = JsonRpc(self.system.plans, CODECS["json"])
        return http_endpoint(jsonrpc, self._limits, self.settings.http.compress_bytes_min)

    def _websockets(self) -> WebSockets:
        text, binary = (JsonRpc(self.system.plans, CODECS[name]) for name in ("json", "msgpack"))
        return WebSockets(text, binary, self._limits, self.settings.http.cors_origins, self.system.live)

    def _measuring(self) -> dict[str, Measuring]:
        store = self.system.store
        if store is None:
            return {}
        from toque.store.insight.measures import database_measuring

        found = {"toque_database_": database_measuring(store.url)}
        if self.system.messages is not None:
            from toque.system.messaging import message_measuring

            found["toque_"] = message_measuring(self.system, store.url)
        return found

    def _counts(self) -> list[Count]:
        found = [] if self.system.messages is None else self.system.messages.counts()
        found += [] if self.system.cache is None else counts(self.system.cache)
        return found + ([] if self.system.live is None else list(live_counts(self.system.live)))

    def _gauges(self) -> list[Count]:
        found = [] if self.system.cache is None else list(gauges(self.system.cache))
        return found + ([] if self.system.live is None else list(live_gauges(self.system.live)))

    # What it says of itself.

    def offered(self, plan: Plan) -> Offered:
        """What an operation offers over HTTP: what it takes and gives, and its limits."""
        from toque.transports.offered import offered

        media_types = offers_of(plan, self._pages).media_types
        if plan.operation.path is not None and self._why_not_live(plan) is None:
            media_types = (*media_types, EVENTS)
        return offered(plan, media_types, self._body_bytes_max(plan))

    def manifest(self) -> Manifest:
        """Everything that the app offers."""
        from toque.contract.manifest import manifest
        from toque.system.messaging import messaging_of

        app = self.app
        plans = self.system.plans.values()
        described = [self.offered(plan) for plan in plans]
        return manifest(app.name, app.version, app.description, described, messaging_of(self.system, app.modules))

    def document(self, name: Document, root: str = "") -> bytes:
        """The manifest, or a document made from it, as JSON, of the app mounted at *root*."""
        found: Any = self.manifest()
        if name == "openapi":
            from toque.transports.openapi import openapi

            found = openapi(found, root)
        elif name == "asyncapi":
            from toque.transports.asyncapi import asyncapi

            found = asyncapi(found)
        return msgspec.json.encode(found)

    def _body_bytes_max(self, plan: Plan) -> int:
        return plan.operation.body_bytes_max or self._limits.bytes_max

    # From the first start to the last stop.

    def prepare(self) -> None:
        """What comes before serving, once for all workers: a database that is as the models say."""
        if self.system.store is not None:
            asyncio.run(self._check_database() if self.settings.is_production else self.prepare_database())

    async def prepare_database(self) -> None:
        """Make a development database like the models, and seed it if it is new.

        Raises: SetupError when the tables differ from the models in a way that only a migration can mend.
        """
        store = self.system.store
        if store is None:
            return
        from toque.store.preparation import prepare

        if self.system.messages is not None:
            from toque.messages.tables import lay_out

            await lay_out(store.url)
        is_new = await prepare(store.url, self._metadata(), self.app.folder)
        await self._capture()
        if is_new and self.system.seeds:
            # A system lives in one event loop, from one start to one stop; this one's is still to come.
            # What seeds publish is handled by those that are served.
            idle = structs.replace(self.settings.messages, work=False)
            await Serving(self.app, structs.replace(self.settings, messages=idle))._seed()

    async def _capture(self) -> None:
        """Have the changes of the app's tables told, where anything is answered from memory."""
        store = self.system.store
        if store is None or self.system.cache is None:
            return
        from toque.cache.capture import install
        from toque.system.caching import captured_tables

        try:
            await install(store.url, captured_tables(self.app.metadata))
        except Exception as error:
            # Whatever the database says against it, the app runs without a memory; starting tells what to do.
            log.warning("changes cannot be captured, so no answer will be kept in memory: %s", error)

    async def _check_database(self) -> None:
        from toque.store.preparation import check

        store = self.system.store
        if store is None:
            return
        wrong: list[Complaint] = []
        if self.system.messages is not None:
            from toque.messages.tables import complaints

            wrong += await complaints(store.url)
        try:
            await check(store.url, self._metadata(), self.app.folder)
        except SetupError as error:
            wrong += error.complaints
        if wrong:
            raise SetupError(wrong)
        if store.dialect_name == "sqlite":
            # A file that is as it must be is the app's own, and nobody else would do it.
            await self._capture()

    def _metadata(self) -> MetaData:
        """The app's tables: none where it writes its own SQL, which needs a database all the same."""
        from sqlalchemy import MetaData

        return MetaData() if self.app.metadata is None else self.app.metadata

    async def _seed(self) -> None:
        await self.system.start()
        try:
            for seed in self.system.seeds:
                await seed.call(Context.within(seed.operation.name, SEED_S), ())
        finally:
            await self.system.stop()

    async def start(self) -> None:
        """Make ready what calls need."""
        if self.settings.observe.traces:
            from toque.call.spans import start_tracing

            self._end_tracing = start_tracing(self.app.name)
        await self.system.start()
        self.metrics.begin()
        counts_between_calls = self.system.messages is not None or self.system.live is not None
        if counts_between_calls and self.figures_folder is not None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())
        self.system.gate.on_tick = self._flush_metrics
        for _, application in self._mounted:
            await application.start()

    def begin_stopping(self) -> None:
        """Welcome no new clients: answers ask their client to leave, sockets close, readiness says no; no job begins.

        Whoever says it again, because it may not have been heard, changes nothing.
        """
        if self.edge.is_stopping:
            return
        self.edge.is_stopping = True
        self._closing = asyncio.get_running_loop().create_task(self._see_off())
        self._closing.add_done_callback(lambda _: self.on_sockets_closed())
        if self.system.messages is not None:
            self._draining = asyncio.get_running_loop().create_task(self.system.messages.drain())

    async def _see_off(self) -> None:
        """End what goes on for as long as its client likes; each hears when to come back.

        The time that clients have to leave is counted here and not by whoever tells the workers to stop: on a busy
        machine one hears of it later than others do.
        """
        leaving = asyncio.create_task(asyncio.sleep(LEAVING_S))
        try:
            if self.system.live is not None:
                await self.system.live.stop()
            await self._sockets.stop(SOCKETS_S)
            await leaving
        finally:
            leaving.cancel()

    def end_streams(self) -> None:
        """Let streamed answers end within the drain time, and cut off the rest. Said again, it changes nothing."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(end_streams(self.settings.http.drain_s))
            self._ending.add_done_callback(lambda _: self.on_streams_ended())

    async def stop(self) -> None:
        """Let running calls end, then end all that was begun, the last first, even where a part fails."""
        self.edge.is_stopping = True
        async with AsyncExitStack() as ends:
            ends.callback(self._end_tracing)
            ends.callback(self.metrics.flush)
            ends.push_async_callback(cancel, self._telling)
            ends.push_async_callback(self.system.stop)
            for _, application in self._mounted:
                ends.push_async_callback(application.stop)
            ends.push_async_callback(cancel, self._closing)
            ends.push_async_callback(self._sockets.stop, SOCKETS_S)

    async def _tell(self) -> None:
        """Write what is counted of messages and subscriptions: no call ends with it."""
        while True:
            await asyncio.sleep(TELL_S)
            self.metrics.flush_if_due()

    def _flush_metrics(self) -> None:
        left_s = self.metrics.flush_if_due()
        if left_s is not None and self.system.gate.is_idle:
            asyncio.get_running_loop().call_later(left_s, self.metrics.flush_if_due)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        log = self.settings.log
        logs.configure(log.level, log.format)
        loop.add_signal_handler(STOPPING, self.begin_stopping)
        loop.add_signal_handler(ENDING, self.end_streams)
        # Ctrl-C in a terminal reaches every process; it is the server that stops its workers, in steps.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        try:
            loop.run_until_complete(self.start())
        except Unavailable as error:
            raise SystemExit(f"the app cannot start: {error} ({error.__cause__}); check TOQUE_DATABASE_URL") from None

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self.stop())


def database_url(settings: Settings, folder: Path) -> str:
    """Where the data is kept: as set, or in a file beside the app."""
    if settings.database.url:
        return settings.database.url
    return f"sqlite:///{(settings.folder or folder) / '.toque' / 'app.db'}"


def _release(app: App) -> Release:
    """What a database is told of this process: migrations wait for those who do not know them."""
    return Release(app.name, app.version, head(app.folder))


def _chosen(setting: bool | None, otherwise: bool) -> bool:
    return otherwise if setting is None else setting


def _compile_late(methods: dict[str, Endpoint], method: str, compiled: Callable[[], Endpoint]) -> None:
    """Let the first request compile what answers it and all after it.

    Readers and writers for every format take half of a start, and of a thousand operations each worker meets few on
    its first day. Nothing can be wrong with them then: `checks` has seen that some format carries all.
    """

    def first(scope: Any, headers: Any, proto: Any, segments: tuple[str, ...]) -> Awaitable[None]:
        methods[method] = compiled()
        return methods[method](scope, headers, proto, segments)

    methods[method] = first


def _route_files(router: Router, modules: list[Module]) -> None:
    for files in (files for module in modules for files in module.static_files):
        from toque.transports.static import static_endpoint

        router.route(f"{files.path}/{REST}").methods["GET"] = static_endpoint(files)


def _complaints_about_files(modules: list[Module]) -> list[Complaint]:
    if not any(module.static_files for module in modules):
        return []
    from toque.transports import static

    return [
        Complaint(f"static files {files.path or '/'}", problem, "a folder's path starts at its module's own")
        for module in modules
        for files in module.static_files
        if (problem := static.problem(files))
    ]


def _route_mounted(router: Router, applications: list[tuple[str, Mounted]]) -> None:
    for path, application in applications:
        for template in (path or "/", f"{path}/{REST}"):
            route = router.route(template)
            route.otherwise, route.websocket = application, application.websocket


def _pages_of(modules: list[Module], settings: Settings) -> tuple[Pages | None, list[Complaint]]:
    """The templates, where any operation has a page, and what is wrong with them."""
    operations = [operation for module in modules for operation in module.operations if operation.page]
    if not operations:
        return None, []
    from toque.transports.pages import Pages

    folders = [module.folder / "templates" for module in modules]
    pages = Pages(folders, is_development=not settings.is_production)
    remedy = "templates stand in the folder `templates` beside the module"
    return pages, [
        Complaint(operation.name, problem, remedy, operation.where)
        for operation in operations
        if (problem := pages.problem(operation.page or ""))
    ]
