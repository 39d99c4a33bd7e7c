"""From a declared app and its settings to one that runs: all is decided here, once, before the first call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toque import checks
from toque.call import logs
from toque.call.access import authenticate, authenticate_message, authorise, recalling
from toque.call.admission import Gate
from toque.call.context import Context
from toque.call.delivery import Delivery
from toque.call.observation import Figures
from toque.call.plan import Handler, Plan, Stage, compile_plan
from toque.call.receive import receive
from toque.call.resources import Pantry
from toque.call.shedding import Shedding
from toque.call.threads import Threads
from toque.call.waiting import Waiting
from toque.codecs.file import takes_upload
from toque.contract import views
from toque.contract.access import Access
from toque.contract.complaints import Complaint, SetupError
from toque.contract.module import Module
from toque.contract.operation import PRIORITIES, Kind, Operation
from toque.contract.principal import Principal
from toque.contract.signature import Place, Signature, SignatureError, read_signature
from toque.http_client.client import HttpClient
from toque.http_client.outgoing import Outgoing
from toque.messages.inbox import Inbox
from toque.messages.jobs.book import Book, Compiled
from toque.messages.jobs.finish import finish
from toque.messages.jobs.jobs import Jobs
from toque.messages.jobs.progress import Progress
from toque.messages.jobs.steps import Steps
from toque.messages.outbox import Bell, Outbox
from toque.messages.webhooks.endpoints import Rules
from toque.messages.webhooks.webhooks import Webhooks
from toque.security.credentials import Verifier
from toque.security.development import DevelopmentTokens
from toque.settings import Settings, problems
from toque.store.database import DATABASES, AllRows, Database
from toque.store.deduplicate import deduplicate
from toque.store.insight.slow import SlowStatements
from toque.store.insight.statistics import Statistics
from toque.store.insight.watch import Watcher
from toque.store.replies import Replies
from toque.store.sql import Sql
from toque.store.transact import room, transact

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.messages.messages import Messages
    from toque.messages.webhooks.incoming import Keyring
    from toque.store.guard import Guard
    from toque.store.release import Release
    from toque.store.statement import Statement, StatementObserver
    from toque.store.store import Store

__all__ = ["System", "Tables", "compile_system", "why_once"]

TRANSACTED = (*DATABASES, Outbox, Jobs, Webhooks)
"""What an operation asks for that needs a snapshot or a transaction."""

# Half of what makes a call slow (`log.slow_ms`).
SLOW_MS = 500.0


@dataclass(frozen=True, slots=True, eq=False)
class System:
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
    guard: Guard | None = None
    messages: Messages | None = None
    """The app's events and what follows them; None where it has none."""

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

    async def stop(self) -> None:
        """End everything that was begun, the last first."""
        try:
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


@dataclass(frozen=True, slots=True)
class Tables:
    """What an app's statements are about, and what they may hold."""

    metadata: MetaData | None
    sql: Sql


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
    wrong = [*complaints, *problems(settings), *checks.of_modules(modules)]
    bell, book = Bell(), Book()
    outgoing = Outgoing(settings.http_client)
    sent = frozenset(event.type_name() for module in modules for event in module.sent)
    rules = Rules(sent, takes_http=not settings.is_production)
    at_hand = {
        Database: _database,
        AllRows: _all_rows,
        Outbox: lambda context: Outbox(context, bell),
        Jobs: lambda context: Jobs(context, book, bell),
        Steps: lambda context: Steps(context, book),
        Progress: lambda context: Progress(context, book),
        Delivery: lambda context: context.delivery,
        HttpClient: lambda context: HttpClient(context, outgoing),
        Webhooks: lambda context: Webhooks(context, rules, bell),
    }
    pantry = Pantry(at_hand, given=[settings, DevelopmentTokens(settings)])
    wrong += _learn_recipes(pantry, modules)
    modules = list(dict.fromkeys(modules))
    operations = list(_read([found for module in modules for found in module.operations], pantry, wrong))
    seeds = list(_read([seed for module in modules for seed in module.seeds], pantry, wrong))
    wrong += [complaint for seed, signature in seeds for complaint in checks.of_seed(seed, signature)]
    handlers = list(_read([handler for module in modules for handler in module.handlers], pantry, wrong))
    wrong += [complaint for handler, signature in handlers for complaint in checks.of_handler(handler, signature)]
    jobs = list(_read([job for module in modules for job in module.jobs], pantry, wrong))
    wrong += [complaint for job, signature in jobs for complaint in checks.of_job(job, signature)]
    verifier = Verifier(settings)
    if any(_takes_tokens(found) for found, _ in operations):
        wrong += verifier.check()
    keyring = _keyring(settings, [found for found, _ in operations], wrong)
    asks_http = any(_needs(pantry, signature, HttpClient) for _, signature in (*operations, *seeds, *handlers))
    wrong += outgoing.problems(is_used=asks_http or bool(sent))
    store, ears = None, tuple(_ears(settings, database_url))
    guard = _guard(tables, wrong)
    asks_messages = any(_needs(pantry, signature, Outbox, Webhooks) for _, signature in operations)
    has_messages = bool(handlers or jobs or sent) or asks_messages
    if has_messages or any(_transacts(pantry, operation, signature) for operation, signature in (*operations, *seeds)):
        try:
            store = _open_store(settings, database_url, release, guard, ears)
        except ValueError as error:
            wrong.append(Complaint("database.url", str(error), "check TOQUE_DATABASE_URL"))
    if has_messages and settings.database.pooler != "none" and not settings.database.direct_url:
        problem = "a pooler in transaction mode has no sessions, and an app with events or jobs needs one"
        wrong.append(Complaint("database.direct_url", problem, "set TOQUE_DATABASE_DIRECT_URL to the database itself"))
    if wrong:
        raise SetupError(wrong)
    threads = Threads(settings.calls.threads_max, settings.calls.thread_queue_max)
    gate = Gate(settings.calls.in_flight_max)
    replies = None if store is None else Replies(store)
    watches = not settings.is_production if settings.database.watch is None else settings.database.watch
    watcher = Watcher() if watches else None
    inbox = Inbox(store) if handlers and store is not None else None
    workshop = _Workshop(
        settings, pantry, threads, gate, store, verifier, replies, guard, watcher, inbox, book, keyring
    )
    # Nobody calls a seed: it fills the tables for all.
    seeding = tuple(workshop.plan(seed, signature, is_guarded=False) for seed, signature in seeds)
    workshop.figures.clear()  # A seed runs once, before there is anybody to look.
    plans = {operation.name: workshop.plan(operation, signature) for operation, signature in operations}
    messages = None
    if has_messages and store is not None:
        book.store, book.compile = store, workshop.step
        book.add(workshop.plan(*job) for job in jobs)
        plans_of_handlers = [workshop.plan(*handler) for handler in handlers]
        messages = _messages(store, bell, settings, inbox=inbox, handlers=plans_of_handlers, book=book)
        if sent:
            _send_webhooks(messages, settings, outgoing, sent)
    return System(
        settings, plans, workshop.figures, gate, threads, pantry, store, outgoing, ears, watcher, seeding, guard,
        messages,
    )  # fmt: skip


def _messages(
    store: Store, bell: Bell, settings: Settings, *, inbox: Inbox | None, handlers: Sequence[Plan], book: Book
) -> Messages:
    from toque.messages.messages import Messages

    probes = []
    if inbox is not None:
        from toque.messages.consumers import PARKED

        probes.append(PARKED)
    if book.by_name:
        from toque.messages.jobs.table import JOBS

        probes.append(JOBS)
    direct_url, is_working = settings.database.direct_url.reveal(), settings.messages.work
    messages = Messages(store, bell, direct_url=direct_url, is_working=is_working, probes=probes)
    if inbox is not None:
        from toque.messages.consumers import Consumers

        at_once = settings.messages.at_once
        consumers = Consumers(store, messages.reader, messages.tail, inbox=inbox, plans=handlers, at_once=at_once)
        messages.consumers = consumers
        messages.preparations.append(consumers.prepare)
        messages.services.append(consumers)
    if book.by_name:
        from toque.messages.jobs.worker import Worker

        slots, drain_s = settings.messages.jobs_max, settings.messages.drain_s
        messages.services.append(Worker(store, messages.tail, book, slots=slots, drain_s=drain_s))
    if book.schedules:
        from toque.messages.jobs.schedules import Schedules

        messages.services.append(Schedules(store, messages.tail, book))
    return messages


def _send_webhooks(messages: Messages, settings: Settings, outgoing: Outgoing, sent: frozenset[str]) -> None:
    from toque.messages.webhooks.deliveries import Deliveries
    from toque.messages.webhooks.dispatcher import Dispatcher
    from toque.messages.webhooks.fan_out import FanOut

    webhooks = settings.webhooks
    deliveries = Deliveries(messages.store, timeout_s=webhooks.timeout_s, disable_after_s=webhooks.disable_after_s)
    fan_out = FanOut(messages.store, messages.reader, sent)
    messages.preparations.append(fan_out.begin)
    messages.services.append(Dispatcher(fan_out, deliveries, messages.tail, outgoing, webhooks))


def _takes_tokens(operation: Operation) -> bool:
    access = operation.allow
    return isinstance(access, Access) and access.needs_principal and access.takes_tokens


def _keyring(settings: Settings, operations: Sequence[Operation], wrong: list[Complaint]) -> Keyring | None:
    """The keys of the webhooks that *operations* take; None where there are none."""
    taken = {one.name: one.allow.webhooks for one in operations if isinstance(one.allow, Access) and one.allow.webhooks}
    if not taken and not settings.webhooks.keys:
        return None
    from toque.messages.webhooks.incoming import Keyring

    keyring = Keyring(settings.webhooks)
    wrong += keyring.problems(taken)
    return keyring


def _read(
    operations: Sequence[Operation], pantry: Pantry, wrong: list[Complaint]
) -> Iterator[tuple[Operation, Signature]]:
    """The operations whose signature can be read; what is wrong with these or the others joins *wrong*."""
    for operation in operations:
        wrong += checks.of_operation(operation)
        try:
            signature = read_signature(operation, pantry.types)
        except SetupError as error:
            wrong += error.complaints
            continue
        wrong += checks.of_signature(operation, signature, pantry)
        yield operation, signature


@dataclass(frozen=True, slots=True)
class _Workshop:
    """Compiles plans with the parts that all of them share."""

    settings: Settings
    pantry: Pantry
    threads: Threads
    gate: Gate
    store: Store | None
    verifier: Verifier
    replies: Replies | None
    guard: Guard | None
    watcher: Watcher | None
    inbox: Inbox | None
    book: Book
    keyring: Keyring | None
    figures: dict[str, Figures] = field(default_factory=dict)

    def plan(self, operation: Operation, signature: Signature, *, is_guarded: bool = True) -> Plan:
        stages = list(self._stages(operation, signature, is_guarded))
        return compile_plan(
            operation,
            signature,
            stages,
            self.pantry,
            self.threads,
            shape=None if signature.is_stream or signature.output is None else views.shaper(signature.output),
            deadline_s=operation.deadline_s or self._deadline_s(operation),
            reads_credential=any(stage.name == "authenticate" for stage in stages),
            carries_mark=self.store is not None
            and self.store.has_replicas
            and any(stage.name == "transact" for stage in stages),
            shedding=self._shedding(operation, {stage.name for stage in stages}),
        )

    def _shedding(self, operation: Operation, stages: set[str]) -> Shedding | None:
        """What refuses calls before they begin, where nobody wants to hear of each and no rule looks at inputs."""
        access, waiting = operation.allow, self._waiting(operation)
        tells_of_each = self.settings.observe.traces or self.settings.log.calls in ("refused", "all")
        if "room" not in stages or waiting is None or access is None or access.reads or tells_of_each:
            return None
        recall = recalling(self.verifier.recall) if "authenticate" in stages else None
        return Shedding(waiting, self.figures[operation.name], PRIORITIES[operation.priority], access, recall)

    def _waiting(self, operation: Operation) -> Waiting[Any] | None:
        return None if self.store is None else self.store.waiting(operation.kind)

    def _compiled(self, job: Operation) -> Callable[[], Compiled]:
        """*job* in the book, where it is once it is compiled."""
        return lambda: self.book.by_name.get(job.name) or self.book.step(job.function)

    def step(self, operation: Operation) -> Plan:
        """The plan of a step that was not declared. Raises: SetupError."""
        signature = read_signature(operation, self.pantry.types)
        if wrong := [*checks.of_signature(operation, signature, self.pantry), *checks.of_job(operation, signature)]:
            raise SetupError(wrong)
        return self.plan(operation, signature)

    def _deadline_s(self, operation: Operation) -> float:
        return self.settings.messages.job_deadline_s if operation.job else self.settings.calls.deadline_s

    def _stages(self, operation: Operation, signature: Signature, is_guarded: bool) -> Iterator[Stage]:
        figures = self.figures[operation.name] = Figures(operation.name, operation.kind.value)
        needs_database = _transacts(self.pantry, operation, signature)
        priority = PRIORITIES[operation.priority]
        report, report_above_s = logs.reporter(self.settings.log.calls, self.settings.log.slow_ms)
        yield Stage(
            "observe, admit",
            "every call is counted, and has a deadline",
            lambda call: self.gate.stage(call, figures, report, priority=priority, report_above_s=report_above_s),
        )
        if self.settings.observe.traces:
            yield Stage("trace", "observe.traces", self._traced(operation))
        is_called = operation.kind in (Kind.QUERY, Kind.COMMAND)
        access = operation.allow
        assert access is not None, "an operation without an access rule is refused before"
        asks_who = [f"it asks for {tp.__name__}" for tp in (Principal, Context) if _needs(self.pantry, signature, tp)]
        if operation.is_idempotent:
            asks_who.append("an idempotency key is its caller's own")
        if self.guard is not None and self.guard.has_rules and _needs(self.pantry, signature, Database):
            asks_who.append("it asks for Database, whose rows are their owners'")
        if is_called and (access.needs_principal or asks_who):
            why = f"allow={access.words}" if access.needs_principal else asks_who[0]
            yield Stage("authenticate", why, self._authenticating(access))
        if access.needs_principal:
            names = tuple(found.name for found in signature.inputs)
            yield Stage("authorise", f"allow={access.words}", lambda call: authorise(call, access, names))
        waiting = self._waiting(operation)
        if waiting is not None and needs_database:
            yield Stage("room", f"nobody begins who gets none of the store's {waiting.name}", room(waiting))
        if (
            is_called
            and signature.inputs
            and (access.needs_principal or signature.places(Place.BODY, Place.MEMBER, Place.UPLOAD))
        ):
            name = "receive for the rule" if access.reads else "receive"
            why = "nobody's inputs are looked at who may not call" if access.needs_principal else "it takes a body"
            yield Stage(name, why, receive)
        if self.store is not None and needs_database:
            why = "one snapshot" if operation.kind is Kind.QUERY else "one transaction"
            if self.watcher is not None:
                yield Stage("watch", "database.watch", self.watcher.stage)
            is_repeatable = why_once(operation, signature) == ""
            wrap = transact(self.store, operation, is_repeatable=is_repeatable, is_guarded=is_guarded)
            asked = [tp.__name__ for tp in TRANSACTED if _needs(self.pantry, signature, tp)]
            asks = f"it asks for {' and '.join(asked)}" if asked else "is_idempotent=True"
            yield Stage("transact", f"{asks}: {why}", wrap)
            if operation.job is not None:
                yield Stage("finish", "it is off the list when it is committed", finish(self._compiled(operation)))
        if self.replies is not None and operation.is_idempotent:
            why = "is_idempotent=True: one effect and one answer a key"
            shape = views.shaper(signature.output)
            yield Stage("deduplicate", why, deduplicate(self.replies, signature.output, shape))
        if self.inbox is not None and operation.kind is Kind.HANDLER and needs_database:
            yield Stage("deduplicate", "its database effects happen once an event", self.inbox.stage)

    def _authenticating(self, access: Access) -> Callable[[Handler], Handler]:
        verify = self.verifier.verify
        if not access.webhooks or self.keyring is None:
            return lambda call: authenticate(call, verify)
        prove = self.keyring.prover(access.webhooks)
        return lambda call: authenticate_message(call, prove, verify)

    def _traced(self, operation: Operation) -> Callable[[Handler], Handler]:
        from toque.call.spans import traced

        return lambda call: traced(call, operation.name, operation.kind.value)


def why_once(operation: Operation, signature: Signature) -> str:
    """Why *operation* is never run again by itself; empty where nothing leaves it before it ends."""
    if operation.has_outside_effects:
        return "it has effects outside of the database"
    if signature.is_stream:
        return "its items leave while it runs"
    return "it takes an upload, which comes once" if takes_upload(signature) else ""


def _transacts(pantry: Pantry, operation: Operation, signature: Signature) -> bool:
    return operation.is_idempotent or _needs(pantry, signature, *TRANSACTED)


def _needs(pantry: Pantry, signature: Signature, *types: type) -> bool:
    """Whether the function, or anything made for it, asks for one of *types*."""
    return not pantry.closure(wanted for _, wanted in signature.resources).isdisjoint(types)


def _database(context: Context) -> Database | None:
    return context.database


def _all_rows(context: Context) -> AllRows | None:
    return None if context.database is None else AllRows.of(context.database)


def _guard(tables: Tables | None, wrong: list[Complaint]) -> Guard | None:
    if tables is None or tables.metadata is None or not tables.metadata.tables:
        return None
    from toque.store.guard import guard_of

    return guard_of(tables.metadata, tables.sql, wrong)


def _open_store(
    settings: Settings, url: str, release: Release | None, guard: Guard | None, ears: Sequence[StatementObserver]
) -> Store:
    from toque.store import open_store

    observers = list(ears)
    if settings.observe.traces:
        from toque.call.spans import statement_observer

        observers.append(statement_observer("sqlite" if url.startswith("sqlite") else "postgresql"))
    database = settings.database
    return open_store(
        url,
        slots=database.pool_size,
        waiting_max=database.waiting_max,
        observer=_all(observers),
        replicas=[replica.reveal() for replica in database.replicas],
        is_pooled=database.pooler == "transaction",
        release=release,
        guard=guard,
    )


def _all(observers: Sequence[StatementObserver]) -> StatementObserver | None:
    """One observer for all of them; None for none, so that nothing is observed."""
    if len(observers) <= 1:
        return observers[0] if observers else None

    def hear(statement: Statement) -> None:
        for observer in observers:
            observer(statement)

    return hear


def _ears(settings: Settings, url: str) -> Iterator[SlowStatements | Statistics]:
    database, is_development = settings.database, not settings.is_production
    slow_ms = (SLOW_MS if is_development else 0) if database.slow_ms is None else database.slow_ms
    if slow_ms:
        yield SlowStatements(url, slow_ms, with_values=database.slow_values)
    # An app without a folder of its own is a test's; nobody will ask for advice on it.
    if settings.folder and (is_development if database.statistics is None else database.statistics):
        yield Statistics(settings.folder)


def _learn_recipes(pantry: Pantry, modules: Sequence[Module]) -> Iterator[Complaint]:
    for module in dict.fromkeys(modules):
        for recipe in module.recipes:
            try:
                pantry.add(recipe)
            except SignatureError as error:
                yield Complaint(f"module {module.name}", error.problem, error.remedy)
    yield from pantry.check()
