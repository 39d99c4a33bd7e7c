"""From a declared app and its settings to one that runs: all is decided here, once, before the first call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from toque import checks, message_checks
from toque.call.admission import Gate
from toque.call.context import Context
from toque.call.delivery import Delivery
from toque.call.observation import Figures
from toque.call.plan import Plan
from toque.call.resources import Pantry, Provider
from toque.call.threads import Threads
from toque.call.waiting import Waiting
from toque.contract.access import Access
from toque.contract.complaints import Complaint, SetupError
from toque.contract.event import Event
from toque.contract.module import Module
from toque.contract.operation import Operation
from toque.http_client.outgoing import Outgoing
from toque.message_checks import is_event
from toque.security.credentials import Verifier
from toque.security.development import DevelopmentTokens
from toque.settings import Settings, problems
from toque.store.database import DATABASES, AllRows, Database
from toque.store.insight.slow import SlowStatements
from toque.store.insight.statistics import Statistics
from toque.store.insight.watch import Watcher
from toque.store.replies import Replies
from toque.system.caching import cache_of, captured_tables, live_of, problems_of_caching, why_uncached
from toque.system.declared import Declared, read_declared
from toque.system.following import keyring_of, messages_of, probes_of, problems_with, send_webhooks
from toque.system.stores import Tables, ears_of, guard_of, store_of
from toque.system.workshop import Workshop, transacts

if TYPE_CHECKING:
    from toque.cache.cache import Cache
    from toque.cache.live import Live
    from toque.log.tail import Tail
    from toque.messages.inbox import Inbox
    from toque.messages.messages import Messages
    from toque.store.guard import Guard
    from toque.store.release import Release
    from toque.store.store import Store
    from toque.system.sending import Sending

__all__ = ["System", "Tables", "compile_system"]


class System(Struct, frozen=True, eq=False):
    """The parts of one app, compiled. It holds no connection and no thread until it is used."""

    settings: Settings
    plans: dict[str, Plan]
    figures: dict[str, Figures]
    gate: Gate
    threads: Threads
    pantry: Pantry
    store: Store | None
    outgoing: Outgoing
    ears: tuple[SlowStatements | Statistics, ...] = ()
    """Who hears of the store's statements."""
    watcher: Watcher | None = None
    """Who hears of every call's statements; None where nobody asked for it."""
    seeds: tuple[Plan, ...] = ()
    handlers: tuple[Plan, ...] = ()
    """What events start."""
    jobs: tuple[Plan, ...] = ()
    sent: tuple[type[Event], ...] = ()
    """What webhooks carry out."""
    guard: Guard | None = None
    messages: Messages | None = None
    """The app's events and what follows them; None where it has none."""
    cache: Cache | None = None
    """What answers its queries from memory; None where nothing does."""
    live: Live | None = None
    """Who sends its answers again whenever they change."""

    @property
    def lines(self) -> tuple[Waiting[Any], ...]:
        """Everything that calls wait for."""
        return (self.threads.waiting, *(() if self.store is None else self.store.lines))

    async def start(self) -> None:
        """Make ready what calls need; the rest is made at its first use."""
        if self.store is not None:
            await self.store.start()
        if self.messages is not None:
            await self.messages.start()
        if self.cache is not None:
            await self.cache.start()

    async def stop(self) -> None:
        """End everything that was begun, the last first."""
        try:
            if self.live is not None:
                await self.live.stop()
            if self.cache is not None:
                await self.cache.stop()
            if self.messages is not None:
                await self.messages.stop()
            self.threads.close()
            await self.pantry.close()
        finally:
            await self.outgoing.stop()
            for ear in self.ears:
                await ear.stop()
            if self.store is not None:
                await self.store.stop()


def compile_system(
    modules: Sequence[Module],
    settings: Settings,
    database_url: str,
    complaints: Sequence[Complaint] = (),
    release: Release | None = None,
    *,
    tables: Tables | None = None,
) -> System:
    """Compile every operation of *modules*.

    Args:
        complaints: what is known to be wrong already, with templates say, so that all is said at once.
        release: what the database is told of whoever uses it.
        tables: whose rules every Database keeps to; an app without tables has none.
    Raises: SetupError with all that is wrong, each with its remedy.
    """
    wrong = [*complaints, *problems(settings), *checks.of_modules(modules), *message_checks.of_events(modules)]
    sent = frozenset(event.type_name() for module in modules for event in module.sent if is_event(event))
    outgoing, sending = Outgoing(settings.http_client), _sending(modules)
    requesting = _requesting(outgoing, sending)
    pantry = Pantry(
        {
            Database: _database,
            AllRows: _all_rows,
            Delivery: lambda context: context.delivery,
            **requesting,
            **({} if sending is None else sending.at_hand(sent, takes_http=not settings.is_production)),
        },
        given=[settings, DevelopmentTokens(settings)],
    )
    declared = read_declared(modules, pantry, wrong)
    verifier = Verifier(settings)
    if any(_takes_tokens(found) for found, _ in declared.operations):
        wrong += verifier.check()
    keyring = keyring_of(settings, [found for found, _ in declared.operations], wrong)
    wrong += outgoing.problems(is_used=declared.needs(*requesting) or bool(sent))
    has_messages, transacted = False, tuple[type, ...](DATABASES)
    if sending is not None:
        from toque.system.lost_jobs import lost_jobs

        has_messages = bool(declared.handlers or declared.jobs or sent) or declared.needs(*sending.publishing)
        transacted += sending.transacted
        wrong += lost_jobs(declared)
    store, ears = None, tuple(ears_of(settings, database_url))
    guard = guard_of(tables, wrong)
    if has_messages or any(transacts(pantry, *each, transacted) for each in (*declared.operations, *declared.seeds)):
        store = store_of(settings, database_url, release, guard, ears=ears, wrong=wrong)
    if has_messages:
        wrong += problems_with(settings)
    if store is not None:
        wrong += problems_of_caching(settings, store)
    if wrong:
        raise SetupError(wrong)
    tail, cache = _followed(store, settings, declared, pantry, tables, has_messages=has_messages)
    watches = not settings.is_production if settings.database.watch is None else settings.database.watch
    workshop = Workshop(
        settings,
        pantry,
        Threads(settings.calls.threads_max, settings.calls.thread_queue_max),
        Gate(settings.calls.in_flight_max),
        verifier,
        store,
        Replies(store) if store is not None else None,
        guard,
        Watcher() if watches else None,
        _inbox(store) if declared.handlers and store is not None else None,
        keyring,
        transacted,
        None if sending is None else sending.book,
        cache,
    )
    # Nobody calls a seed: it fills the tables for all.
    seeds = tuple(workshop.plan(*seed, is_guarded=False) for seed in declared.seeds)
    workshop.figures.clear()  # A seed runs once, before there is anybody to look.
    plans = {operation.name: workshop.plan(operation, signature) for operation, signature in declared.operations}
    messages: Messages | None = None
    handlers: tuple[Plan, ...] = ()
    jobs: tuple[Plan, ...] = ()
    if has_messages and sending is not None and store is not None and tail is not None:
        book = sending.book
        book.store, book.compile = store, workshop.step
        book.limits.update({limits.queue: limits for module in modules for limits in module.queues})
        jobs = tuple(workshop.plan(*job) for job in declared.jobs)
        book.add(jobs)
        handlers = tuple(workshop.plan(*handler) for handler in declared.handlers)
        messages = messages_of(
            modules[0].name, store, sending.bell, tail, settings, inbox=workshop.inbox, handlers=handlers, book=book
        )
        if sent:
            send_webhooks(messages, settings, outgoing, sent)
    return System(
        settings=settings,
        plans=plans,
        figures=workshop.figures,
        gate=workshop.gate,
        threads=workshop.threads,
        pantry=pantry,
        store=store,
        outgoing=outgoing,
        ears=ears,
        watcher=workshop.watcher,
        seeds=seeds,
        handlers=handlers,
        jobs=jobs,
        sent=tuple(dict.fromkeys(event for module in modules for event in module.sent)),
        guard=guard,
        messages=messages,
        cache=cache,
        live=None if cache is None or store is None else live_of(cache, store, settings),
    )


def _sending(modules: Sequence[Module]) -> Sending | None:
    """What operations ask for to cause messages; None where none of it is loaded: who asks for a type imports it."""
    declares = any(module.handlers or module.jobs or module.sent for module in modules)
    if not declares and "toque.messages" not in sys.modules:
        return None
    from toque.system.sending import Sending

    return Sending()


def _requesting(outgoing: Outgoing, sending: Sending | None) -> dict[type, Provider]:
    """What operations ask for to send requests; nothing where it is not loaded.

    Durable steps are compiled while their job runs, and may come with modules that are loaded then.
    """
    if sending is None and "toque.http_client.client" not in sys.modules:
        return {}
    from toque.http_client.client import HttpClient

    return {HttpClient: lambda context: HttpClient(context, outgoing)}


def _inbox(store: Store) -> Inbox:
    from toque.messages.inbox import Inbox

    return Inbox(store)


def _followed(
    store: Store | None,
    settings: Settings,
    declared: Declared,
    pantry: Pantry,
    tables: Tables | None,
    *,
    has_messages: bool,
) -> tuple[Tail | None, Cache | None]:
    """What follows *store* in this process: its one tail, and the cache; None where nobody asks for it."""
    if store is None:
        return None, None
    captured = [] if tables is None else captured_tables(tables.metadata)
    is_cached = bool(captured) and any(not why_uncached(*each, pantry, settings) for each in declared.operations)
    tail = None
    if has_messages or (is_cached and store.dialect_name != "sqlite"):
        from toque.log.tail import Tail

        probes = list(probes_of(declared.handlers, declared.jobs)) if has_messages else []
        tail = Tail(settings.database.direct_url.reveal() or store.url, probes)
    if not is_cached:
        return tail, None
    operations = [operation for operation, _ in declared.operations]
    return tail, cache_of(store, captured, settings, tail, starts_tail=not has_messages, operations=operations)


def _takes_tokens(operation: Operation) -> bool:
    access = operation.allow
    return isinstance(access, Access) and access.needs_principal and access.takes_tokens


def _database(context: Context) -> Database | None:
    return context.database


def _all_rows(context: Context) -> AllRows | None:
    return None if context.database is None else AllRows.of(context.database)
