"""A compiled system behind its edge: every operation over every protocol, and what an app answers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from toque.call.context import Context
from toque.call.plan import Plan
from toque.codecs.codec import CODECS, StreamEncoder
from toque.contract.complaints import Complaint, SetupError
from toque.contract.operation import Kind
from toque.system import System, compile_system
from toque.transports.arguments import plain_reader
from toque.transports.bodies import BodyLimits, body_reader
from toque.transports.cors import Cors
from toque.transports.health import Health
from toque.transports.http import HttpOperation
from toque.transports.replies import DATA_HEADERS, Headers, Offer, Offers
from toque.transports.router import REST, Router
from toque.transports.rsgi import STOPPING, Edge, HostRule

if TYPE_CHECKING:
    from toque.app import App
    from toque.settings import Settings
    from toque.transports.pages import Pages

__all__ = ["Serving", "database_url"]

SEED_S = 60.0
"""How long a seed may take: it is the first start's own wait, and nobody else's."""


class Serving:
    """An app that can be served: an RSGI application with a beginning and an end."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        url = database_url(settings, app.folder)
        self.system: System = compile_system(app.modules, settings, url)
        http = settings.http
        self._limits = BodyLimits(http.body_bytes_max, http.body_timeout_s)
        self._pages = _pages_of(app, settings)
        router = Router()
        for plan in self.system.plans.values():
            self._offer_over_http(router, plan)
        gate = self.system.gate
        self._health = Health(lambda: self.edge.is_stopping, lambda: gate.is_full)
        self._offer_the_rest(router)
        cors = Cors(http.cors_origins, with_credentials=http.cors_credentials) if http.cors_origins else None
        self.edge = Edge(router, HostRule(http.hosts), cors, None)
        self.__rsgi__ = self.edge

    async def start(self) -> None:
        await self.system.start()

    async def stop(self) -> None:
        self.begin_stopping()
        await self.system.stop()

    def prepare(self) -> None:
        """What comes before serving, once for all workers: a database that is as the models say."""
        if self.system.store is not None:
            asyncio.run(self._check_database() if self.settings.is_production else self.prepare_database())

    async def prepare_database(self) -> None:
        """Make a development database like the models, and seed it if it is new.

        Raises: SetupError when the tables differ from the models in a way that only a migration can mend.
        """
        store, metadata = self.system.store, self.app.metadata
        if store is None or metadata is None:
            return
        from toque.store.preparation import prepare

        if await prepare(store.url, metadata, self.app.folder) and self.system.seeds:
            # A system lives in one event loop, from one start to one stop; this one's is still to come.
            await Serving(self.app, self.settings)._seed()

    async def _check_database(self) -> None:
        from toque.store.preparation import check

        if self.system.store is not None:
            await check(self.system.store.url, self.app.folder)

    async def _seed(self) -> None:
        await self.system.start()
        try:
            for seed in self.system.seeds:
                await seed.call(Context(seed.operation.name, monotonic() + SEED_S), ())
        finally:
            await self.system.stop()

    def begin_stopping(self) -> None:
        """Welcome no new clients: answers ask their client to leave, and readiness says no."""
        self.edge.is_stopping = True

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(STOPPING, self.begin_stopping)
        loop.run_until_complete(self.start())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self.stop())

    def formats(self, plan: Plan) -> tuple[str, ...]:
        """The media types that an operation answers in over HTTP."""
        return tuple(offer.media_type for offer in self._offers(plan))

    def _offer_over_http(self, router: Router, plan: Plan) -> None:
        operation, signature = plan.operation, plan.signature
        if operation.path is None:
            return
        limits = BodyLimits(operation.body_bytes_max or self._limits.bytes_max, self._limits.seconds_max)
        endpoint = HttpOperation(
            plan,
            Offers(list(self._offers(plan)), answers_nothing=_answers_nothing(plan)),
            plain_reader(signature, operation.path),
            body_reader(operation, signature, limits),
            self.settings.http.compress_bytes_min,
        )
        router.route(operation.path).methods[operation.method] = endpoint.answer

    def _offers(self, plan: Plan) -> Iterator[Offer]:
        operation, signature = plan.operation, plan.signature
        headers = _headers_of(plan)
        if signature.output is bytes:
            media_type = operation.media_type or "application/octet-stream"
            stream = StreamEncoder(bytes) if signature.is_stream else None
            yield Offer(media_type, [("content-type", media_type), *headers], bytes, stream)
            return
        if _answers_nothing(plan):
            yield Offer("application/json", headers, lambda _value: b"")
            return
        if signature.output is not None:
            yield from _data_offers(plan, headers)
        if operation.page is not None and self._pages is not None:
            yield self._pages.offer(operation, signature)

    def _offer_the_rest(self, router: Router) -> None:
        """Files, mounted applications, and what every app answers: health, metrics, documentation."""
        for path, endpoint in self._health.endpoints().items():
            router.route(path).methods["GET"] = endpoint


def _answers_nothing(plan: Plan) -> bool:
    return plan.signature.output is None and plan.operation.page is None


def _headers_of(plan: Plan) -> Headers:
    """What every answer of an operation carries. What depends on the caller is kept by nobody (RFC 9111, 5.2.2.5)."""
    headers = list(DATA_HEADERS)
    if plan.reads_credential:
        headers.append(("cache-control", "no-store"))
    elif plan.operation.kind is Kind.QUERY:
        headers.append(("vary", "accept"))
    return headers


def _data_offers(plan: Plan, headers: Headers) -> Iterator[Offer]:
    output = plan.signature.output
    for codec in CODECS.values():
        content_type = [("content-type", codec.media_types[0]), *headers]
        if plan.signature.is_stream:
            if stream := codec.stream_encoder(output):
                yield Offer(codec.media_types[0], content_type, bytes, stream)
        elif encode := codec.encoder(output):
            yield Offer(codec.media_types[0], content_type, encode)


def _pages_of(app: App, settings: Settings) -> Pages | None:
    """The templates, where any operation has a page. Raises: SetupError where one is missing."""
    operations = [operation for module in app.modules for operation in module.operations if operation.page]
    if not operations:
        return None
    from toque.transports.pages import Pages

    pages = Pages([_templates(module.folder) for module in app.modules], is_development=not settings.is_production)
    complaints = [
        Complaint(operation.name, problem, "templates stand in the folder `templates` beside the module")
        for operation in operations
        if (problem := pages.problem(operation.page or ""))
    ]
    if complaints:
        raise SetupError(complaints)
    return pages


def _templates(folder: Path) -> Path:
    return folder / "templates"




def database_url(settings: Settings, folder: Path) -> str:
    """Where the data is kept: as set, or in a file beside the app."""
    if settings.database.url:
        return settings.database.url
    return f"sqlite:///{(settings.folder or folder) / '.toque' / 'app.db'}"
