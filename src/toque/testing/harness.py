"""An app in memory: its operations by name or by path, with the plan that production uses and a database of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary, finalize

import msgspec

from toque.app import App
from toque.call.context import Context
from toque.call.receive import given
from toque.contract.conversion import enums_as_values
from toque.contract.principal import ANONYMOUS, Principal
from toque.security.development import mint
from toque.serving import Serving
from toque.settings import Secret, Settings
from toque.store.insight.watch import Repeated
from toque.testing.memory import Answer, MemoryProtocol, MemoryScope

__all__ = ["Harness", "running"]

TEMPLATE = "template.db"

SETTLE_S = 30.0
"""How long `settle` waits: three times the deadline that a handler has unless told otherwise."""


class Harness:
    """A running app, called without a socket."""

    def __init__(self, serving: Serving, *, strict_statements: bool = False) -> None:
        self.serving = serving
        self._repeated: list[Repeated] = []
        if strict_statements:
            watcher = serving.system.watcher
            if watcher is None:
                raise ValueError("strict_statements needs an app that uses its database, and database.watch.")
            watcher.on_repeated = self._repeated.append

    async def call(
        self,
        operation: str,
        /,
        *,
        principal: Principal = ANONYMOUS,
        idempotency_key: str | None = None,
        **inputs: Any,
    ) -> Any:
        """Call *operation* by its name with typed or plain *inputs*; returns what the function returned, shaped.

        A streamed answer is returned as a list. Raises: what the operation raises.
        """
        plan = self.serving.system.plans[operation]
        context = Context.within(operation, plan.deadline_s, principal)
        if idempotency_key is not None:
            context.idempotency_key = plan.key(idempotency_key)
        items: list[Any] = []

        async def keep(item: Any) -> None:
            items.append(item)

        context.sink = keep
        plain = enums_as_values(inputs)
        # In a task of its own, as in production: what it leaves behind in context variables ends with it.
        value = await asyncio.create_task(plan.call(context, given(plan, lambda: plan.arguments(plain))))
        self._refuse_repeated()
        if plan.signature.is_stream:
            return items
        return plan.shape(value) if plan.shape else value

    @asynccontextmanager
    async def live(
        self, operation: str, /, *, principal: Principal = ANONYMOUS, **inputs: Any
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Follow the answer of the query *operation*: it now, and again whenever it changes.

            async with harness.live("shop.list_orders", principal=ANA) as orders:
                assert await anext(orders) == []

        Raises: what the operation raises, and Unimplemented where it cannot be followed.
        """
        live = self.serving.system.live
        if live is None:
            raise ValueError("live() needs an app with a query that is cached; `toque explain` says why one is not.")
        plan = self.serving.system.plans[operation]
        context = Context.within(operation, plan.deadline_s, principal)
        subscription = await live.subscribe(plan, context, given(plan, lambda: plan.arguments(enums_as_values(inputs))))

        async def states() -> AsyncGenerator[Any, None]:
            while True:
                state = await subscription.next(SETTLE_S)
                if state is None:
                    raise TimeoutError(f"{operation} has not changed for {SETTLE_S:g} s.")
                yield state.value()

        iterator = states()
        try:
            yield iterator
        finally:
            await iterator.aclose()
            live.leave(subscription)

    async def request(
        self,
        method: str,
        target: str,
        *,
        json: Any = None,
        content: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        principal: Principal | None = None,
    ) -> Answer:
        """Send one HTTP request.

        Args:
            target: the path, with a query string if any.
            json: the body as a value; Content-Type is set.
            content: the body as bytes, or as the chunks in which they arrive.
            principal: calls as this one, with a development token.
        """
        sent = {"host": "localhost", **{name.lower(): value for name, value in (headers or {}).items()}}
        if json is not None:
            content = msgspec.json.encode(json)
            sent.setdefault("content-type", "application/json")
        chunks = [content] if isinstance(content, bytes) else list(content)
        if isinstance(content, bytes) and content:
            sent.setdefault("content-length", str(len(content)))
        if principal is not None:
            sent["authorization"] = f"Bearer {self.token(principal)}"
        path, _, query = target.partition("?")
        path = unquote(path)  # as the server does, before anybody tells the segments apart
        protocol = MemoryProtocol(chunks)
        await self.serving.edge(MemoryScope(method, path, query, list(sent.items())), protocol)
        self._refuse_repeated()
        return protocol.answer

    async def settle(self) -> None:
        """Come back when every event published so far is handled or parked, and those that were published because of
        them. Raises: TimeoutError when that takes too long."""
        messages = self.serving.system.messages
        if messages is None or messages.consumers is None or not messages.is_working:
            raise ValueError("settle() waits for handlers, and this app runs none here.")
        async with asyncio.timeout(SETTLE_S):
            await messages.consumers.settled()

    def _refuse_repeated(self) -> None:
        found, self._repeated[:] = [*self._repeated], []
        if found:
            raise AssertionError("\n".join(map(str, found)))

    async def get(self, target: str, **options: Any) -> Answer:
        """`request("GET", ...)`."""
        return await self.request("GET", target, **options)

    async def post(self, target: str, **options: Any) -> Answer:
        """`request("POST", ...)`."""
        return await self.request("POST", target, **options)

    async def put(self, target: str, **options: Any) -> Answer:
        """`request("PUT", ...)`."""
        return await self.request("PUT", target, **options)

    async def patch(self, target: str, **options: Any) -> Answer:
        """`request("PATCH", ...)`."""
        return await self.request("PATCH", target, **options)

    async def delete(self, target: str, **options: Any) -> Answer:
        """`request("DELETE", ...)`."""
        return await self.request("DELETE", target, **options)

    def token(self, principal: Principal) -> str:
        """A development token for *principal*."""
        return mint(
            self.serving.settings,
            subject=principal.subject,
            roles=tuple(sorted(principal.roles)),
            scopes=tuple(sorted(principal.scopes)),
            tenant=principal.tenant,
            lifetime_s=3600,
        )


@asynccontextmanager
async def running(
    app: App, *, settings: Settings | None = None, database_url: str = "", strict_statements: bool = False
) -> AsyncIterator[Harness]:
    """*app*, started in memory with a fresh database, and stopped at the end.

    The tables and seeds of an app are made once and copied for every further test, which takes milliseconds.

    Args:
        settings: instead of development's defaults.
        database_url: an empty database to use instead of a fresh SQLite file.
        strict_statements: fail, with an AssertionError, a call that runs one statement once per row (N+1).
    """
    with tempfile.TemporaryDirectory(prefix="toque-") as name:
        folder = Path(name)
        given = settings or Settings()
        if not database_url and not given.database.url:
            database_url = f"sqlite:///{folder / 'test.db'}"
            await _copy_prepared(app, given, folder / "test.db")
        serving = app.serve(_with(given, folder, database_url))
        if not (folder / "test.db").exists():
            await serving.prepare_database()
        await serving.start()
        try:
            yield Harness(serving, strict_statements=strict_statements)
        finally:
            await serving.stop()


_prepared: WeakKeyDictionary[App, Path] = WeakKeyDictionary()
"""For each app, the folder with its database as it is when nothing has happened yet."""


async def _copy_prepared(app: App, settings: Settings, file: Path) -> None:
    if app not in _prepared:
        # Removed with the app, or with the process; a TemporaryDirectory would warn of that.
        kept = Path(tempfile.mkdtemp(prefix="toque-"))
        finalize(app, shutil.rmtree, kept, ignore_errors=True)
        await app.serve(_with(settings, kept, f"sqlite:///{kept / TEMPLATE}")).prepare_database()
        _prepared[app] = kept
    template = _prepared[app] / TEMPLATE
    if template.exists():
        shutil.copyfile(template, file)


def _with(settings: Settings, folder: Path, database_url: str) -> Settings:
    if database_url:
        database = msgspec.structs.replace(settings.database, url=Secret(database_url))
        settings = msgspec.structs.replace(settings, database=database)
    return msgspec.structs.replace(settings, folder=folder)
