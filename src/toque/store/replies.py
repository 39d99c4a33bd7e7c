"""The answers of idempotent commands: one row a key, written in the transaction of the command itself.

So the answer is kept exactly if the change is. The row is there before the function runs: it decides between two calls
that come at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from toque.contract.errors import InProgress, KeyReused
from toque.store.database import Database, transaction_of
from toque.store.prepared import Prepared
from toque.store.transaction import Transaction

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.store import Store

__all__ = ["ANSWER_BYTES_MAX", "KEPT_S", "TABLE", "Replies", "add_table"]

TABLE = "toque_reply"

KEPT_S = 24 * 3600
"""How long an answer is kept at least: a day, as at Stripe; no client waits longer before it tries again."""

ANSWER_BYTES_MAX = 1024 * 1024
"""The largest answer that is kept: as large as the largest body unless told otherwise (`http.body_bytes_max`)."""

SWEEP_EVERY_S = 60.0
SWEEP_ROWS = 500
"""Rows deleted at a time, some milliseconds of work. Whenever that many were found the next call deletes as many
again: each call adds one row, so old ones cannot grow in number."""

WAIT_S = 0.25
"""How long a call waits for another one with its key: most commands take less, and it holds a connection."""
WAIT_AGAIN_S = 0.01


class _Statements(NamedTuple):
    """What a store runs; the claim affects one row, or none where the key is taken."""

    claim: Prepared
    find: Prepared
    keep: Prepared
    sweep: Prepared


# By the database's clock: a row of a process whose own is a day late would be swept by the others at once, and its
# call done again.
_NOW = {"sqlite": "CAST(strftime('%s', 'now') AS INTEGER)", "postgresql": "extract(epoch FROM now())::bigint"}


def _oldest(now: str, seconds: str) -> str:
    return f"SELECT id FROM {TABLE} WHERE made_at < {now} - {seconds} ORDER BY made_at LIMIT {SWEEP_ROWS}"  # noqa: S608


_STATEMENTS = {
    "sqlite": _Statements(
        Prepared(
            f"INSERT INTO {TABLE} (id, request, made_at) VALUES (?, ?, {_NOW['sqlite']}) "  # noqa: S608
            "ON CONFLICT (id) DO NOTHING",
            True,
        ),
        Prepared(f"SELECT request, answer FROM {TABLE} WHERE id = ?"),  # noqa: S608
        Prepared(f"UPDATE {TABLE} SET answer = ? WHERE id = ?", True),  # noqa: S608
        Prepared(f"DELETE FROM {TABLE} WHERE id IN ({_oldest(_NOW['sqlite'], '?')})", True),  # noqa: S608
    ),
    # Without the lock an INSERT would wait for the other transaction as long as that takes. The lock is tried, not
    # waited for, and ends with the transaction, after its row has become visible.
    "postgresql": _Statements(
        Prepared(
            f"INSERT INTO {TABLE} (id, request, made_at) SELECT $1::bytea, $2::bytea, {_NOW['postgresql']} "
            "WHERE pg_try_advisory_xact_lock($3::bigint) ON CONFLICT (id) DO NOTHING",
            True,
        ),
        Prepared(f"SELECT request, answer FROM {TABLE} WHERE id = $1"),  # noqa: S608
        Prepared(f"UPDATE {TABLE} SET answer = $1 WHERE id = $2", True),  # noqa: S608
        Prepared(
            f"DELETE FROM {TABLE} WHERE id IN ({_oldest(_NOW['postgresql'], '$1::bigint')} FOR UPDATE SKIP LOCKED)",  # noqa: S608
            True,
        ),
    ),
}


def add_table(metadata: MetaData) -> None:
    """Make the table a part of *metadata*, so that it is created and migrated like those of the models."""
    from sqlalchemy import BigInteger, Column, LargeBinary, Table

    from toque.store.rows import SHARED, declare

    if TABLE not in metadata.tables:
        table = Table(
            TABLE,
            metadata,
            Column("id", LargeBinary, primary_key=True),
            Column("request", LargeBinary, nullable=False),
            Column("answer", LargeBinary),
            Column("made_at", BigInteger, nullable=False, index=True),
        )
        declare(table, SHARED)


class Replies:
    """The kept answers of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._statements = _STATEMENTS[store.dialect_name]
        self._has_locks = store.dialect_name == "postgresql"
        self._sweep_due = 0.0

    async def claim(self, database: Database, id: bytes, request: bytes) -> bytes | None:
        """Take the key *id* for the call that *database* belongs to: None, or the answer that is kept under it.

        Raises: KeyReused where the key stands for another *request*, InProgress where its call is under way.
        """
        transaction = transaction_of(database)
        lock = [int.from_bytes(id[:8], signed=True)] if self._has_locks else []
        until = monotonic() + WAIT_S
        while not await transaction.execute(self._statements.claim, [id, request, *lock]):
            if (kept := await self._find(transaction, id)) is not None:
                if kept[0] != request:
                    raise KeyReused("this idempotency key was used with other inputs; a new call needs a new key")
                return kept[1]
            if monotonic() > until:
                raise InProgress("a call with this idempotency key is under way", retry_after_s=1)
            await asyncio.sleep(WAIT_AGAIN_S)
        return None

    async def keep(self, database: Database, id: bytes, answer: bytes) -> None:
        """Keep *answer* under the key that was claimed, if the command is committed."""
        if len(answer) > ANSWER_BYTES_MAX:
            raise ValueError(
                f"the answer has {len(answer)} bytes, and {ANSWER_BYTES_MAX} can be kept under an idempotency key; "
                "answer with what the caller needs, or leave is_idempotent out"
            )
        await transaction_of(database).execute(self._statements.keep, [answer, id])
        if monotonic() >= self._sweep_due:
            self._sweep_due = monotonic() + SWEEP_EVERY_S
            database.after_commit(self.sweep)

    async def sweep(self) -> int:
        """Delete some of what need not be kept any more; returns how many."""

        async def delete(database: Database) -> int:
            return await transaction_of(database).execute(self._statements.sweep, [KEPT_S])

        deleted = await self._store.command(delete)
        if deleted >= SWEEP_ROWS:
            self._sweep_due = 0.0
        return deleted

    async def _find(self, transaction: Transaction, id: bytes) -> tuple[bytes, bytes] | None:
        rows: Sequence[Any] = await transaction.fetch(self._statements.find, [id], 1, list)
        return (rows[0][0], rows[0][1]) if rows else None
