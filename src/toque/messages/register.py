"""The consumers' rows: how far each has come, and who may say so.

Whoever takes a consumer over raises its fence, and everything that is written for it names the fence: what a former
owner still writes, who was frozen and does not know of it, changes nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from toque.log.cursor import Cursor
from toque.messages.dialects import both
from toque.store.database import Database
from toque.store.own import execute, look, rows
from toque.store.store import Store

__all__ = ["CAREFUL_FROM", "Fenced", "Register", "Row", "State", "Tenure", "hold"]

State = Literal["running", "paused", "done"]

CAREFUL_FROM = 2
"""After so many owners in a row that ended without having come anywhere, the next one tries events one by one. Before
that any of those at work may have ended it, or what else the process did, and so none is to blame."""

_ADD = both(
    "INSERT INTO toque.consumer (name, handler, cursor, until, state, began, moved) "
    "VALUES ($1, $2, $3, $4::float8, 'running', {now}, {now}) ON CONFLICT (name) DO NOTHING",
    True,
)
_ROWS = both("SELECT id, name, handler, until, state, fence, is_open, began, moved, cursor FROM toque.consumer")
_TAKE = both(
    "UPDATE toque.consumer SET fence = fence + 1, owner = $2, is_open = TRUE, "
    "crashes = CASE WHEN is_open AND fence <> $3 THEN crashes + 1 WHEN is_open THEN crashes ELSE 0 END "
    "WHERE name = $1 AND state <> 'done' RETURNING id, fence, cursor, state, crashes",
    True,
)
_MOVE = both(
    "UPDATE toque.consumer SET cursor = $3, crashes = CASE WHEN $4 THEN 0 ELSE crashes END, "
    "state = CASE WHEN $5 THEN 'done' ELSE state END, is_open = $6, moved = {now} "
    "WHERE id = $1 AND fence = $2 RETURNING state",
    True,
)
_STATE = both("SELECT state FROM toque.consumer WHERE id = $1 AND fence = $2")
_HOLD = both("SELECT state FROM toque.consumer WHERE id = $1 AND fence = $2 FOR NO KEY UPDATE", True)


class Fenced(Exception):
    """Somebody else has taken the consumer over."""


class Row(msgspec.Struct, frozen=True):
    """A consumer, as anybody may see it."""

    id: int
    name: str
    handler: str
    until: float | None
    """Events from this moment on are none of its: it only handles again what there was when it was made."""
    state: State
    fence: int
    is_open: bool
    began: float
    moved: float
    cursor: Cursor


class Tenure(msgspec.Struct, frozen=True):
    """What its owner got with a consumer."""

    id: int
    fence: int
    cursor: Cursor
    state: State
    crashes: int
    """How many owners in a row ended without having come anywhere."""
    has_crashed: bool
    """Whether the last one ended in the middle of the only event that it tried."""


class Register:
    """The consumers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dialect = store.dialect_name
        self._owner = f"{socket.gethostname()}:{os.getpid()}"

    async def add(self, name: str, handler: str, cursor: Cursor, until: float | None = None) -> bool:
        """Have a consumer that begins at *cursor*: whether there was none of this name."""
        place = msgspec.json.encode(cursor).decode()
        return await execute(self._store, _ADD[self._dialect], name, handler, place, until) == 1

    async def rows(self) -> list[Row]:
        """All consumers, also those of handlers that are no more."""
        found = await look(self._store, _ROWS[self._dialect])
        return [_row(row) for row in found]

    async def take(self, name: str, last_fence: int) -> Tenure | None:
        """Become its owner; None where it is done, or gone.

        Args:
            last_fence: the fence under which this process had it last: a consumer that it lost with the database, and
                that nobody had since, was not left by a crash.
        """
        arguments = (name, self._owner, last_fence)
        found = await self._store.command(lambda database: rows(database, _TAKE[self._dialect], *arguments))
        if not found:
            return None
        id, fence, cursor, state, crashes = found[0]
        return Tenure(id, fence, _cursor(cursor), state, crashes, crashes > CAREFUL_FROM and fence - 1 != last_fence)

    async def move(
        self, tenure: Tenure, cursor: Cursor, *, is_well: bool, is_done: bool = False, is_open: bool = True
    ) -> State:
        """Note how far it has come. Raises: Fenced.

        Args:
            is_well: whether it has come so far that no crash before is to be minded.
            is_open: whether its owner goes on.
        """
        place = msgspec.json.encode(cursor).decode()
        arguments = (tenure.id, tenure.fence, place, is_well, is_done, is_open)
        found = await self._store.command(lambda database: rows(database, _MOVE[self._dialect], *arguments))
        return _state(found)

    async def state(self, tenure: Tenure) -> State:
        """Whether it is to work. Raises: Fenced."""
        arguments = (tenure.id, tenure.fence)
        return _state(await look(self._store, _STATE[self._dialect], *arguments))


async def hold(database: Database, dialect: str, tenure: Tenure) -> None:
    """Let nobody take the consumer over until the transaction of *database* ends. Raises: Fenced."""
    _state(await rows(database, _HOLD[dialect], tenure.id, tenure.fence))


def _row(row: Sequence[Any]) -> Row:
    values = [*row[:6], bool(row[6]), *row[7:9], _cursor(row[9])]
    return Row(*values)


def _state(found: Sequence[Any]) -> State:
    if not found:
        raise Fenced
    state: State = found[0][0]
    return state


def _cursor(text: str) -> Cursor:
    return msgspec.json.decode(text, type=Cursor)
