"""The policy that answers a query from memory, where it may, and keeps what it answered, where it can."""

from __future__ import annotations

import copy
import logging
from asyncio import CancelledError
from collections.abc import Callable, Sequence, Set
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from toque.cache.decisions import Need
from toque.cache.figures import CacheFigures
from toque.cache.front import Front
from toque.cache.kept import Canonical, KeptAnswer, Unfit
from toque.cache.knowledge import Key, Knowledge
from toque.cache.learned import Learned
from toque.cache.noting import Noting, why_blind
from toque.cache.predicates import Predicate, ReadSet
from toque.cache.runner import How, Landed, Landing
from toque.call.context import Context
from toque.call.plan import Arguments, Handler
from toque.contract.conversion import enc_hook
from toque.contract.errors import DeadlineExceeded, Overloaded, Unavailable
from toque.contract.freshness import Freshness
from toque.contract.nodes import holds

if TYPE_CHECKING:
    from toque.cache.cache import Cache

__all__ = ["CachedQuery", "Failure"]

log = logging.getLogger("toque.cache")

AGAIN_MAX = 16
"""How often a call asks again because a run has asked something new about its caller: as many facts as rules have."""

UNFIT_MAX = 64
"""How many calls may have an answer that cannot be kept, an integer beyond 64 bits say, before none of the query is."""

LAST_SHARE = 0.2
"""How much the last run counts in how long one takes (`CachedQuery.run_s`): after ten others one is forgotten."""

_encode_inputs = msgspec.msgpack.Encoder(enc_hook=enc_hook).encode
"""In the order in which they were given: a dict's is a part of it."""
_encode_in_json = msgspec.json.Encoder(enc_hook=enc_hook).encode


def _encode_times(inputs: Sequence[Any]) -> bytes:
    """Of a time with a zone, MessagePack has the moment alone, and JSON what a clock there shows."""
    return _encode_inputs(inputs) + _encode_in_json(inputs)


_OWN = (Overloaded, Unavailable, DeadlineExceeded)
"""What befell one call alone: whoever waits for its run makes one of its own."""


class Failure:
    """What a run raised, for all who waited for it."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def again(self) -> Exception:
        """An error to raise that is nobody else's."""
        try:
            return copy.copy(self.error)
        except Exception:
            return self.error


class CachedQuery:
    """One operation, answered from memory.

    Args:
        shape: makes of what the function returned its declared output.
        freshness: what the operation declares.
        inputs: their types.
        is_about_caller: whether the function is given its caller.
        reads: the tables on which its answer depends by its author's word; None where that is found out.
        front: what its answers tell caches on their way.
    """

    def __init__(
        self,
        cache: Cache,
        operation: str,
        output: Any,
        shape: Callable[[Any], Any] | None,
        freshness: Freshness,
        *,
        inputs: Sequence[Any],
        is_about_caller: bool,
        is_public: bool,
        reads: Sequence[str] | None,
        front: Front,
    ) -> None:
        self.figures = CacheFigures()
        self.knowledge = Knowledge(operation, is_about_caller=is_about_caller)
        self.why_not = ""
        """Why it is not answered from memory after all, found out when it ran."""
        self.is_blind = False
        """Whether that is so only until the changes of what it reads are told (again)."""
        self.unfit: dict[Key, str] = {}
        """Calls whose answers could not be kept, and why: their callers wait for nobody."""
        self.freshness = freshness
        self.tables: dict[str, set[tuple[str, ...]]] = {}
        """What it was seen to read: of each table, by which columns."""
        self.run_s: float | None = None
        """How long a run takes, the last ones counting most; None where none has ended."""
        self._cache = cache
        self._operation = operation
        self._canonical = Canonical(output)
        has_times = any(holds(tp, inspect.DateTimeType) for tp in inputs)
        self._encode_inputs = _encode_times if has_times else _encode_inputs
        self._shape = shape
        self._is_public = is_public
        self._reads = reads
        self._front = front
        bound_s = cache.bound_s if freshness.bound_s is None else freshness.bound_s
        self._need = cache.need(Need(bound_s, is_strict=freshness.is_strict))

    def forget(self) -> None:
        """Find out anew whether it can be answered from memory: the schema is another one."""
        self.why_not, self.is_blind = "", False
        self.unfit.clear()

    @property
    def learned(self) -> Learned:
        """What is known of it by now."""
        reads = {table: sorted(map(list, columns)) for table, columns in self.tables.items()}
        return Learned(reads, self.why_not)

    def need_of(self, context: Context) -> Need:
        """What *context*'s answer must not miss."""
        asked, token = context.freshness, None if context.mark is None else context.mark.token
        if asked is None and token is None:
            return self._need
        need = self._need
        bound_s = need.bound_s if asked is None or asked.bound_s is None else min(asked.bound_s, need.bound_s)
        is_strict = need.is_strict or (asked is not None and asked.is_strict)
        return self._cache.need(Need(bound_s, is_strict=is_strict, token=token))

    def at_once(self, key: Key) -> KeptAnswer | None:
        """What may be answered this moment to anybody whose call has this *key* and demands nothing, as a hit; None
        where nothing may, or a second look is due."""
        cache = self._cache
        # What was kept before it was known whom it is about is found under no key any more.
        if not cache.is_on or self.why_not or key[2] != len(self.knowledge.facts) or cache.is_sampled():
            return None
        try:
            answer: KeptAnswer | None = cache.runner.at_once(key, self._need)
        except Unavailable:
            return None
        self.figures.hits += answer is not None
        return answer

    def key_of(self, context: Context, arguments: Arguments) -> Key | None:
        """The key under which *context* finds its answer; None where it has none."""
        return self.knowledge.key(arguments, context.caller, self._encode_inputs)

    def stage(self, call: Handler) -> Handler:
        """*call*, or what it answered before."""
        cache, figures = self._cache, self.figures

        async def cached(context: Context, arguments: Arguments) -> Any:
            asked = context.freshness
            if not cache.is_on or self.why_not or (asked is not None and asked.is_bypassed):
                figures.bypassed += 1
                context.cache_status = "toque; fwd=request" if asked is not None else "toque; fwd=bypass"
                return await call(context, arguments)
            runner = cache.runner
            need = self.need_of(context)
            for _ in range(AGAIN_MAX):
                key = self.key_of(context, arguments)
                if key is None or self.why_not:
                    break
                if context.takes_kept:
                    context.cache_key = key
                if key in self.unfit:
                    break
                try:
                    answer = runner.at_once(key, need)
                except Unavailable:
                    break
                status = HIT
                if answer is None and cache.shared is not None and await cache.shared.bring(self, key):
                    self.figures.shared += 1
                    self._label(runner.entries.find(key), key)
                    answer, status = runner.at_once(key, need), SHARED
                if answer is not None:
                    if cache.is_sampled():
                        await self._verify(call, context, arguments, key, answer)
                    return self._hit(context, answer, status)
                landed = await runner.ask(key, need, partial(self._fly, call, context, arguments, key))
                if landed.how is How.RUN and landed.is_kept:
                    self._label(landed.value, key)
                    if cache.shared is not None:
                        cache.shared.send(self, key, landed.value)
                if landed.how is not How.AGAIN:
                    return self._given(context, landed)
            figures.bypassed += 1
            context.cache_status = "toque; fwd=bypass"
            return await call(context, arguments)

        return cached

    def answer_of(self, key: Key, body: bytes, *, is_personal: bool) -> KeptAnswer:
        """The answer that is kept as *body* under *key*. Raises: Unfit."""
        kept = self._canonical.read(body)
        self._address(kept, key, is_personal=is_personal)
        return kept

    def _address(self, kept: KeptAnswer, key: Key, *, is_personal: bool) -> None:
        kept.is_personal = is_personal
        kept.control = self._front.control(is_personal=is_personal)
        kept.on_grown = partial(self._cache.entries.grow, key)

    def _label(self, kept: Any, key: Key) -> None:
        """Say by which names caches on its way forget *kept*, which was kept under *key* right now."""
        if isinstance(kept, KeptAnswer) and not kept.is_personal:
            kept.labels = self._front.labels(self._cache.entries.reads_of(key))

    def _hit(self, context: Context, answer: KeptAnswer, status: str) -> Any:
        self.figures.hits += 1
        context.cache_status = status
        return answer if context.takes_kept else answer.value()

    def _given(self, context: Context, landed: Landed) -> Any:
        answer = landed.value
        if landed.how is How.HIT:
            return self._hit(context, answer, HIT)
        is_own = landed.how is How.RUN
        if is_own:
            self.figures.kept += landed.is_kept
            context.cache_status = STORED if landed.is_kept else MISS
        else:
            self.figures.joined += 1
            context.cache_status = JOINED
        if isinstance(answer, Failure):
            raise answer.error if is_own else answer.again()
        if isinstance(answer, _Plain):
            return answer.value
        return answer if context.takes_kept else answer.value()

    async def _fly(self, call: Handler, context: Context, arguments: Arguments, key: Key, flight: int) -> Landing:
        """Run the query for all who wait. Raises: what befell this call alone."""
        self.figures.runs += 1
        cache = self._cache
        captured = cache.captured
        noting = Noting(cache.readings, captured, context.caller, partial(self._read, flight))
        # A replica may lag behind what was applied here, and what it answers would never be dropped.
        mark, context.mark = context.mark, None
        context.reads = noting
        cache.runner.begin(flight)
        if self._reads is not None:
            cache.runner.read(flight, ReadSet(Predicate(table) for table in self._reads))
        began = monotonic()
        try:
            value = await call(context, arguments)
            took_s = monotonic() - began
            self.run_s = took_s if self.run_s is None else self.run_s + (took_s - self.run_s) * LAST_SHARE
        except (CancelledError, *_OWN):
            raise
        except Exception as error:
            is_shared = self._tells(key, noting) and not self._why_untracked(noting, captured)
            return Landing(Failure(error), is_lasting=False, is_shared=is_shared)
        finally:
            context.reads, context.mark = None, mark
        return self._landing(value, key, noting, captured)

    def _landing(self, value: Any, key: Key, noting: Noting, captured: Set[str]) -> Landing:
        is_told = self._tells(key, noting)
        is_same = captured is self._cache.captured
        if why := self._why_untracked(noting, captured):
            if is_same:  # Else it was found out meanwhile whose changes are told.
                self.is_blind = self.is_blind or (not self.why_not and (self._reads is not None or noting.is_blind))
                self._give_up(why)
            return Landing(_Plain(value), is_lasting=False, is_shared=False)
        try:
            kept = self._canonical.kept(value if self._shape is None else self._shape(value))
        except Unfit as error:
            self.unfit[key] = str(error)
            # Without inputs, none of them could make the difference.
            if len(self.unfit) > UNFIT_MAX or not key[1]:
                self._give_up(str(error))
            return Landing(_Plain(value), is_lasting=False, is_shared=False)
        if noting.has_failed:
            return Landing(_Plain(value), is_lasting=False, is_shared=False)
        is_personal = not self._is_public or self.knowledge.is_about_caller or bool(noting.asked)
        self._address(kept, key, is_personal=is_personal)
        return Landing(kept, is_lasting=is_same, is_shared=is_told)

    async def _verify(
        self, call: Handler, context: Context, arguments: Arguments, key: Key, answer: KeptAnswer
    ) -> None:
        """Run the query again and compare, unless what it has read changes meanwhile."""
        cache = self._cache
        twin = Context.within(context.operation, context.remaining_s, context.principal)
        try:
            value = await call(twin, arguments)
            found = self._canonical.kept(value if self._shape is None else self._shape(value)).body
        except (CancelledError, *_OWN):
            raise
        except Exception as error:
            found = repr(error).encode()
        # If the answer is still kept after a look that began after the run, no commit lies between the two.
        if not await cache.runner.barrier() or cache.entries.find(key) is not answer:
            return
        self.figures.verified += 1
        if found == answer.body:
            return
        self.figures.wrong += 1
        # Where it has looked, and never for what: no value of a row enters a message.
        reads = {f"{table}({', '.join(columns)})" for table, columns, _ in cache.entries.reads_of(key)}
        cache.entries.discard(key)
        facts = ", ".join(f"{about}{list(names) or ''}" for about, names in self.knowledge.facts)
        log.error(
            "%s: an answer from memory was not that of the database; its key told %s; it had read %s",
            self._operation,
            facts or "nothing of the caller",
            ", ".join(sorted(reads)),
        )

    def _read(self, flight: int, part: ReadSet) -> None:
        for table, columns, _ in part.predicates:
            known = self.tables.setdefault(table, set())
            if columns not in known:
                known.add(columns)
                self._cache.learn()
        self._cache.runner.read(flight, part)

    def _tells(self, key: Key, noting: Noting) -> bool:
        return self.knowledge.tells(key, noting.asked)

    def _why_untracked(self, noting: Noting, captured: Set[str]) -> str:
        """Why no change of what was read would be heard of, which its author may have said; empty where it would."""
        return noting.why_not if self._reads is None else why_blind(self._reads, captured)

    def _give_up(self, why: str) -> None:
        if not self.why_not:
            self.why_not = why
            self._cache.learn()
            log.info("%s is not answered from memory: %s", self._operation, why)


class _Plain:
    """What a function returned, for its own caller alone."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


HIT = "toque; hit"
SHARED = "toque; hit; detail=shared"
STORED = "toque; fwd=miss; stored"
MISS = "toque; fwd=miss"
JOINED = "toque; fwd=miss; collapsed"
"""The words of RFC 9211, section 2."""
