"""From one declared operation to its plan: which stages it uses, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from toque import checks, message_checks
from toque.call import logs
from toque.call.access import authenticate, authenticate_message, authorise, recalling, standing
from toque.call.admission import Gate
from toque.call.context import Context
from toque.call.observation import Figures
from toque.call.plan import Arguments, Handler, Plan, Stage, Stands, compile_plan
from toque.call.receive import receive
from toque.call.resources import Pantry
from toque.call.shedding import Shedding
from toque.call.threads import Threads
from toque.call.waiting import Waiting
from toque.codecs.file import takes_upload
from toque.contract import views
from toque.contract.access import Access
from toque.contract.complaints import SetupError
from toque.contract.operation import PRIORITIES, Kind, Operation
from toque.contract.principal import Principal
from toque.contract.signature import Place, Signature, read_signature
from toque.security.credentials import Verifier
from toque.settings import Settings
from toque.store.database import Database
from toque.store.deduplicate import deduplicate
from toque.store.insight.watch import Watcher
from toque.store.replies import Replies
from toque.store.transact import room, transact
from toque.system.caching import cached_query, why_uncached

if TYPE_CHECKING:
    from toque.cache.cache import Cache
    from toque.messages.inbox import Inbox
    from toque.messages.jobs.book import Book
    from toque.messages.webhooks.incoming import Keyring
    from toque.store.guard import Guard
    from toque.store.store import Store

__all__ = ["Workshop", "needs", "transacts", "why_once"]


class Workshop(Struct, frozen=True, eq=False):
    """Compiles plans with the parts that all of them share."""

    settings: Settings
    pantry: Pantry
    threads: Threads
    gate: Gate
    verifier: Verifier
    store: Store | None
    replies: Replies | None
    guard: Guard | None
    watcher: Watcher | None
    inbox: Inbox | None
    keyring: Keyring | None
    transacted: Sequence[type]
    """What an operation asks for that needs a snapshot or a transaction."""
    book: Book | None = None
    cache: Cache | None = None
    figures: dict[str, Figures] = msgspec.field(default_factory=dict)

    def plan(self, operation: Operation, signature: Signature, *, is_guarded: bool = True) -> Plan:
        """*operation*, ready to be called; *is_guarded* is whether it keeps to the rows' rules."""
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
            carries_mark=self._carries_mark(stages),
            is_cached=_answers_from_memory(stages),
            standing=self._standing(operation, signature, stages),
            shedding=self._shedding(operation, stages),
        )

    def _standing(
        self, operation: Operation, signature: Signature, stages: Sequence[Stage]
    ) -> Callable[[Context, Arguments], Stands] | None:
        """How callers are looked at again and again, where their answer may be followed."""
        names = tuple(found.name for found in signature.inputs)
        is_proven = any(stage.name == "authenticate" for stage in stages)
        if operation.allow is None or operation.kind is not Kind.QUERY or not is_proven:
            return None
        return standing(operation.allow, names, self.verifier.proving)

    def _carries_mark(self, stages: Sequence[Stage]) -> bool:
        """Whether its callers' own commits matter to it: to replicas, and to other processes' memories."""
        store = self.store
        if store is None or not any(stage.name == "transact" for stage in stages):
            return False
        return store.has_replicas or (self.cache is not None and store.dialect_name != "sqlite")

    def _shedding(self, operation: Operation, stages: Sequence[Stage]) -> Shedding | None:
        """What refuses calls before they begin, where nobody wants to hear of each and no rule looks at inputs."""
        access, waiting = operation.allow, self._waiting(operation)
        tells_of_each = self.settings.observe.traces or self.settings.log.calls in ("refused", "all")
        # What is in memory needs no room: nobody is refused before it was looked for.
        if tells_of_each or _answers_from_memory(stages) or access is None or access.reads:
            return None
        names = {stage.name for stage in stages}
        if "room" not in names or waiting is None:
            return None
        recall = recalling(self.verifier.recall) if "authenticate" in names else None
        return Shedding(waiting, self.figures[operation.name], PRIORITIES[operation.priority], access, recall)

    def _waiting(self, operation: Operation) -> Waiting[Any] | None:
        return None if self.store is None else self.store.waiting(operation.kind)

    def _finish(self, job: Operation) -> Callable[[Handler], Handler]:
        """How *job* ends: by what the book says of it, where it is once it is compiled."""
        from toque.messages.jobs.finish import finish

        book = self.book
        assert book is not None, "an app with jobs has one"
        return finish(lambda: book.by_name.get(job.name) or book.step(job.function))

    def step(self, operation: Operation) -> Plan:
        """The plan of a step that was not declared. Raises: SetupError."""
        signature = read_signature(operation, self.pantry.types)
        if wrong := [
            *checks.of_signature(operation, signature, self.pantry),
            *message_checks.of_job(operation, signature),
        ]:
            raise SetupError(wrong)
        return self.plan(operation, signature)

    def _deadline_s(self, operation: Operation) -> float:
        return self.settings.messages.job_deadline_s if operation.job else self.settings.calls.deadline_s

    def _stages(self, operation: Operation, signature: Signature, is_guarded: bool) -> Iterator[Stage]:
        figures = self.figures[operation.name] = Figures(operation.name, operation.kind.value)
        needs_database = transacts(self.pantry, operation, signature, self.transacted)
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
        asks_who = [f"it asks for {tp.__name__}" for tp in (Principal, Context) if needs(self.pantry, signature, tp)]
        if operation.is_idempotent:
            asks_who.append("an idempotency key is its caller's own")
        if self.guard is not None and self.guard.has_rules and needs(self.pantry, signature, Database):
            asks_who.append("it asks for Database, whose rows are their owners'")
        if is_called and (access.needs_principal or asks_who):
            why = f"allow={access.words}" if access.needs_principal else asks_who[0]
            yield Stage("authenticate", why, self._authenticating(access))
        if access.needs_principal:
            names = tuple(found.name for found in signature.inputs)
            yield Stage("authorise", f"allow={access.words}", lambda call: authorise(call, access, names))
        is_cached, why = self._is_cached(operation, signature, needs_database)
        if is_cached and self.cache is not None:
            shape = views.shaper(signature.output)
            yield Stage(
                "cache",
                why,
                cached_query(self.cache, operation, signature, self.pantry, shape, settings=self.settings.cache).stage,
            )
        elif why:
            yield Stage("cache", why, _as_it_is)
        waiting = self._waiting(operation)
        if waiting is not None and needs_database:
            yield Stage("room", f"nobody begins who gets none of the store's {waiting.name}", room(waiting))
        if (
            is_called
            and signature.inputs
            and (access.needs_principal or signature.places(Place.BODY, Place.MEMBER, Place.UPLOAD))
        ):
            name = "receive for the rule" if access.reads else CACHED_INPUTS if is_cached else "receive"
            why = "nobody's inputs are looked at who may not call" if access.needs_principal else "it takes a body"
            yield Stage(name, why, receive)
        if needs_database:
            yield from self._database_stages(operation, signature, is_guarded)

    def _database_stages(self, operation: Operation, signature: Signature, is_guarded: bool) -> Iterator[Stage]:
        if self.store is not None:
            why = "one snapshot" if operation.kind is Kind.QUERY else "one transaction"
            if self.watcher is not None:
                yield Stage("watch", "database.watch", self.watcher.stage)
            is_repeatable = why_once(operation, signature) == ""
            wrap = transact(self.store, operation, is_repeatable=is_repeatable, is_guarded=is_guarded)
            asked = [tp.__name__ for tp in self.transacted if needs(self.pantry, signature, tp)]
            asks = f"it asks for {' and '.join(asked)}" if asked else "is_idempotent=True"
            yield Stage("transact", f"{asks}: {why}", wrap)
            if operation.job is not None:
                yield Stage("finish", "it is off the list when it is committed", self._finish(operation))
        if self.replies is not None and operation.is_idempotent:
            why = "is_idempotent=True: one effect and one answer a key"
            shape = views.shaper(signature.output)
            yield Stage("deduplicate", why, deduplicate(self.replies, signature.output, shape))
        if self.inbox is not None and operation.kind is Kind.HANDLER:
            yield Stage("deduplicate", "its database effects happen once an event", self.inbox.stage)

    def _is_cached(self, operation: Operation, signature: Signature, needs_database: bool) -> tuple[bool, str]:
        """Whether a query is answered from memory, and why, or why not; no word of what never could be."""
        if operation.kind is not Kind.QUERY or not (needs_database or operation.reads) or self.store is None:
            return False, ""
        why_not = why_uncached(operation, signature, self.pantry, self.settings)
        if why_not or self.cache is None:
            return False, f"not cached: {why_not or 'nothing of the app is'}"
        trusted = "reads= says on what its answer depends" if operation.reads else "its answer depends on rows alone"
        return True, f"{trusted}; freshness={operation.freshness or 'own-writes'}"

    def _authenticating(self, access: Access) -> Callable[[Handler], Handler]:
        verify = self.verifier.verify
        if not access.webhooks or self.keyring is None:
            return lambda call: authenticate(call, verify)
        prove = self.keyring.prover(access.webhooks)
        return lambda call: authenticate_message(call, prove, verify)

    def _traced(self, operation: Operation) -> Callable[[Handler], Handler]:
        from toque.call.spans import traced

        return lambda call: traced(call, operation.name, operation.kind.value)


CACHED_INPUTS = "receive for the cache"


def _as_it_is(call: Handler) -> Handler:
    return call


def _answers_from_memory(stages: Sequence[Stage]) -> bool:
    return any(stage.name == "cache" and stage.wrap is not _as_it_is for stage in stages)


def why_once(operation: Operation, signature: Signature) -> str:
    """Why *operation* is never run again by itself; empty where nothing leaves it before it ends."""
    if operation.has_outside_effects:
        return "it has effects outside of the database"
    if signature.is_stream:
        return "its items leave while it runs"
    return "it takes an upload, which comes once" if takes_upload(signature) else ""


def transacts(pantry: Pantry, operation: Operation, signature: Signature, transacted: Sequence[type]) -> bool:
    """Whether *operation* needs a snapshot or a transaction, as who asks for one of *transacted* does."""
    return operation.is_idempotent or needs(pantry, signature, *transacted)


def needs(pantry: Pantry, signature: Signature, *types: type) -> bool:
    """Whether the function, or anything made for it, asks for one of *types*."""
    return not pantry.closure(wanted for _, wanted in signature.resources).isdisjoint(types)
