"""From a declared app and its settings to one that runs: all is decided here, once, before the first call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from toque import checks, message_checks
from toque.call.admission import Gate
from toque.call.observation import Figures
from toque.call.plan import Plan
from toque.call.resources import Pantry
from toque.call.threads import Threads
from toque.call.waiting import Waiting
from toque.contract.complaints import Complaint, SetupError
from toque.contract.event import Event
from toque.contract.module import Module
from toque.http_client.outgoing import Outgoing
from toque.settings import Settings, problems
from toque.store.insight.slow import SlowStatements
from toque.store.insight.statistics import Statistics
from toque.store.insight.watch import Watcher
from toque.store.replies import Replies
from toque.system.caching import cache_of, captured_tables, live_of, why_uncached
from toque.system.draft import Draft, draft_of
from toque.system.following import messages_of, probes_of, send_webhooks
from toque.system.stores import Tables
from toque.system.workshop import Workshop

if TYPE_CHECKING:
    from toque.cache.cache import Cache
    from toque.cache.live import Live
    from toque.log.tail import Tail
    from toque.messages.inbox import Inbox
    from toque.messages.messages import Messages
    from toque.store.guard import Guard
    from toque.store.release import Release
    from toque.store.store import Store

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
    draft = draft_of(modules, settings, database_url, release, tables=tables, wrong=wrong)
    if wrong:
        raise SetupError(wrong)
    tail, cache = _followed(draft, tables)
    workshop = _workshop(draft, cache)
    # Nobody calls a seed: it fills the tables for all.
    seeds = tuple(workshop.plan(*seed, is_guarded=False) for seed in draft.declared.seeds)
    workshop.figures.clear()  # A seed runs once, before there is anybody to look.
    plans = {operation.name: workshop.plan(operation, signature) for operation, signature in draft.declared.operations}
    jobs = tuple(workshop.plan(*job) for job in draft.declared.jobs)
    handlers = tuple(workshop.plan(*handler) for handler in draft.declared.handlers)
    return System(
        settings=settings,
        plans=plans,
        figures=workshop.figures,
        gate=workshop.gate,
        threads=workshop.threads,
        pantry=draft.pantry,
        store=draft.store,
        outgoing=draft.outgoing,
        ears=draft.ears,
        watcher=workshop.watcher,
        seeds=seeds,
        handlers=handlers,
        jobs=jobs,
        sent=draft.sent,
        guard=draft.guard,
        messages=_messages(draft, workshop, tail, handlers, jobs) if draft.has_messages else None,
        cache=cache,
        live=None if cache is None or draft.store is None else live_of(cache, draft.store, settings),
    )


def _workshop(draft: Draft, cache: Cache | None) -> Workshop:
    """What compiles the operations of *draft*, with the parts that all of them share."""
    settings, store = draft.settings, draft.store
    watches = not settings.is_production if settings.database.watch is None else settings.database.watch
    return Workshop(
        settings=settings,
        pantry=draft.pantry,
        threads=Threads(settings.calls.threads_max, settings.calls.thread_queue_max),
        gate=Gate(settings.calls.in_flight_max),
        verifier=draft.verifier,
        store=store,
        replies=Replies(store) if store is not None else None,
        guard=draft.guard,
        watcher=Watcher() if watches else None,
        inbox=_inbox(store) if draft.declared.handlers and store is not None else None,
        keyring=draft.keyring,
        transacted=draft.transacted,
        book=None if draft.sending is None else draft.sending.book,
        cache=cache,
    )


def _messages(
    draft: Draft, workshop: Workshop, tail: Tail | None, handlers: Sequence[Plan], jobs: Sequence[Plan]
) -> Messages:
    """The app's events, and what follows them."""
    sending, store, modules = draft.sending, draft.store, draft.modules
    assert sending is not None, "who has messages has loaded what sends them"
    assert store is not None, "they are in its database"
    assert tail is not None, "and followed"
    book = sending.book
    book.store, book.compile = store, workshop.step
    book.limits.update({limits.queue: limits for module in modules for limits in module.queues})
    book.add(jobs)
    messages = messages_of(
        modules[0].name, store, sending.bell, tail, draft.settings, inbox=workshop.inbox, handlers=handlers, book=book
    )
    if draft.sent_names:
        send_webhooks(messages, draft.settings, draft.outgoing, draft.sent_names)
    return messages


def _inbox(store: Store) -> Inbox:
    from toque.messages.inbox import Inbox

    return Inbox(store)


def _followed(draft: Draft, tables: Tables | None) -> tuple[Tail | None, Cache | None]:
    """What follows the store in this process: its one tail, and the cache; None where nobody asks for it."""
    store, settings, declared, has_messages = draft.store, draft.settings, draft.declared, draft.has_messages
    if store is None:
        return None, None
    captured = [] if tables is None else captured_tables(tables.metadata)
    is_cached = bool(captured) and any(not why_uncached(*each, draft.pantry, settings) for each in declared.operations)
    tail = None
    if has_messages or (is_cached and store.dialect_name != "sqlite"):
        from toque.log.tail import Tail

        probes = list(probes_of(declared.handlers, declared.jobs)) if has_messages else []
        tail = Tail(settings.database.direct_url.reveal() or store.url, probes)
    if not is_cached:
        return tail, None
    operations = [operation for operation, _ in declared.operations]
    return tail, cache_of(store, captured, settings, tail, starts_tail=not has_messages, operations=operations)
