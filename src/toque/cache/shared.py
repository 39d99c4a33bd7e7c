"""The second level: answers that one process has kept, for the others to take over instead of asking the database.

Nobody tells it what has changed, so nothing that is told can be lost. Whoever finds an answer there looks by himself
whether it still holds (`Coherence.adopt`). The server is asked for many answers at once, by one task, and not at all
while it does not answer: for half a second, calls wait for it for a tenth of a second each.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future, Task
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context as Variables
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Protocol

from toque.cache.circuit import Circuit
from toque.cache.envelope import Envelope, Packed
from toque.cache.kept import KeptAnswer, Unfit
from toque.call.tasks import cancel

if TYPE_CHECKING:
    from toque.cache.knowledge import Key
    from toque.cache.policy import CachedQuery
    from toque.cache.runner import Runner

__all__ = ["Level", "Lost", "Shared"]

log = logging.getLogger("toque.cache")

TIMEOUT_S = 0.1
"""How long anybody waits for the server: a hundred times what it takes (measured), and as long as for a look."""

ANSWER_S = 0.5
"""When a server that says nothing counts as gone. A first connection takes longer than a question, with TLS most."""

KEPT_S = 3600
"""How long the server keeps what nobody renews. On a database that is written to, an answer can be taken over for some
minutes, because the log of changes reaches no further; where nothing is written, for as long as it is there."""

RENEW_S = 60
"""An answer that was packed longer ago is packed again by who takes it over: as of a later snapshot, it holds on."""

BATCH_MAX, ASKED_MAX = 256, 4096
"""Answers in one command, and asked for at once; a call beyond that asks the database."""

ANSWER_BYTES_MAX, OUTGOING_BYTES_MAX = 1 << 20, 8 << 20
"""The largest answer that is shared, some milliseconds of a server that does one thing at a time; and what waits to be
sent: what comes on top is not shared."""


class Lost(Exception):
    """The server did not answer, or refused to."""


class Level(Protocol):
    """Values by name, on a server that may forget any of them."""

    name: str
    """Where it is, without what must not be told."""

    async def get(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """The value of each name. Raises: Lost."""
        ...

    async def put(self, values: Mapping[str, bytes], seconds: int) -> None:
        """Keep *values* for so long, as far as there is room. Raises: Lost."""

    async def reset(self) -> None:
        """Connect anew before the next question."""

    async def close(self) -> None:
        """Let go of everything."""


class Shared:
    """One process's use of the second level.

    Args:
        release: the code that answers.
        from_s: how long a query takes at least whose answers are shared: what takes less is found out sooner.
    """

    def __init__(self, level: Level, runner: Runner, release: str, from_s: float) -> None:
        self.circuit = Circuit()
        self.found = 0
        """Answers that were taken over."""
        self.refused = 0
        """Answers that were there and held no more, or were not for us."""
        self.sent = 0
        self._level = level
        self._runner = runner
        self._release = release
        self._from_s = from_s
        self._envelope = Envelope("", release)
        self._place = ""
        self._asked: dict[str, Future[bytes | None]] = {}
        self._outgoing: dict[str, bytes] = {}
        self._outgoing_bytes = 0
        self._working: Task[None] | None = None

    async def stop(self) -> None:
        """Send nothing more."""
        await cancel(self._working)
        self._answer_all()
        await self._level.close()

    async def bring(self, query: CachedQuery, key: Key) -> bool:
        """Keep under *key* what another process keeps, if there is anything that holds here: whether there was."""
        if not self._is_worth_it(query) or not self.circuit.is_closed:
            self._try_again()
            return False
        envelope = self._present_envelope()
        if envelope is None:
            return False
        name = envelope.name(key, query.knowledge.told_by(key))
        sealed = await self._get(name)
        if sealed is None:
            return False
        packed = envelope.open(name, sealed)
        answer = None if packed is None else _answer(query, key, packed)
        if packed is None or answer is None or not self._adopt(key, answer, packed):
            self.refused += 1
            return False
        self.found += 1
        if time() - packed.packed_at > RENEW_S:
            self.send(query, key, answer)
        return True

    def send(self, query: CachedQuery, key: Key, answer: Any) -> None:
        """Have others find *answer*, if it is one that is kept under *key* now. Never waits."""
        runner, envelope = self._runner, self._present_envelope()
        snapshot = runner.snapshot
        if envelope is None or snapshot is None or not self._is_worth_it(query) or not self.circuit.is_closed:
            return
        if not isinstance(answer, KeptAnswer) or runner.entries.find(key) is not answer:
            return
        if len(answer.body) > ANSWER_BYTES_MAX or self._outgoing_bytes > OUTGOING_BYTES_MAX:
            return
        # As of what was applied by now: whatever of that overlaps the answer is in it, or it would have been dropped.
        # SQLAlchemy's names are a kind of str that MessagePack does not take.
        reads = [(str.__str__(table), columns, values) for table, columns, values in runner.entries.reads_of(key)]
        packed = Packed(runner.epoch, snapshot, reads, answer.is_personal, int(time()), answer.body)
        name = envelope.name(key, query.knowledge.told_by(key))
        try:
            sealed = envelope.seal(name, packed)
        except (TypeError, ValueError, OverflowError) as error:
            log.debug("an answer cannot be packed: %s", error)
            return
        self._outgoing_bytes += len(sealed) - len(self._outgoing.get(name, b""))
        self._outgoing[name] = sealed
        self._work()

    def _is_worth_it(self, query: CachedQuery) -> bool:
        """Whether a query takes longer than a question to the server; yes where nobody knows."""
        return query.run_s is None or query.run_s >= self._from_s

    def _present_envelope(self) -> Envelope | None:
        place = self._runner.place
        if place != self._place:
            self._place, self._envelope = place, Envelope(place, self._release)
        return self._envelope if place else None

    def _adopt(self, key: Key, answer: KeptAnswer, packed: Packed) -> bool:
        return self._runner.adopt(key, answer, packed.read_set, packed.snapshot, packed.epoch)

    # The server.

    async def _get(self, name: str) -> bytes | None:
        future = self._asked.get(name)
        if future is None:
            if len(self._asked) >= ASKED_MAX:
                return None
            future = self._asked[name] = asyncio.get_running_loop().create_future()
            self._work()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                # Whoever gives up waiting does not give up for the others.
                return await asyncio.shield(future)
        except TimeoutError:
            return None

    def _try_again(self) -> None:
        """Where the server did not answer some time ago, find out whether it does now; nobody waits for that."""
        is_working = self._working is not None and not self._working.done()
        if not is_working and not self.circuit.is_closed and self.circuit.lets(monotonic()):
            self._work()

    def _work(self) -> None:
        if self._working is None or self._working.done():
            # In nobody's call: what it logs is about all of them.
            self._working = asyncio.get_running_loop().create_task(self._serve(), context=Variables())

    async def _serve(self) -> None:
        was_closed = self.circuit.is_closed
        try:
            while True:
                async with asyncio.timeout(ANSWER_S):
                    await self._serve_batch()
                self.circuit.succeed()
                if not self._asked and not self._outgoing:
                    break
        except (Lost, TimeoutError) as error:
            self.circuit.fail(monotonic())
            if was_closed:
                why = str(error) or f"no answer within {ANSWER_S:g} s"
                log.warning("%s: %s; each process keeps answers by itself meanwhile", self._level.name, why)
            self._answer_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._level.reset()
        else:
            if not was_closed:
                log.warning("%s answers again", self._level.name)

    async def _serve_batch(self) -> None:
        names = list(self._asked)[:BATCH_MAX]
        if names or not self._outgoing:
            # With nothing to ask for, a question that has no answer shows as well whether it answers.
            values = await self._level.get(names or ["toque:"])
            for name, value in zip(names, values, strict=False):
                _tell(self._asked.pop(name), value)
        if self._outgoing:
            sent = {name: self._outgoing[name] for name in list(self._outgoing)[:BATCH_MAX]}
            await self._level.put(sent, KEPT_S)
            self.sent += len(sent)
            for name, sealed in sent.items():
                if self._outgoing.get(name) is sealed:
                    del self._outgoing[name]
                    self._outgoing_bytes -= len(sealed)

    def _answer_all(self) -> None:
        """Nobody waits any longer, and nothing is sent."""
        asked, self._asked = self._asked, {}
        for future in asked.values():
            _tell(future, None)
        self._outgoing.clear()
        self._outgoing_bytes = 0


def _tell(future: Future[bytes | None], value: bytes | None) -> None:
    if not future.done():
        future.set_result(value)


def _answer(query: CachedQuery, key: Key, packed: Packed) -> KeptAnswer | None:
    try:
        return query.answer_of(key, packed.body, is_personal=packed.is_personal)
    except Unfit:
        return None
