"""asyncpg's connection with the few things that the store asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import msgspec

from toque.store.closing import Session
from toque.store.forking import keep_from_children

__all__ = ["Connection", "connect", "connect_for_engine", "connect_to_move"]

# Each text is prepared once per connection. PostgreSQL keeps a few ten KB for one; an app has some hundred.
STATEMENTS_KEPT = 512
CONNECT_TIMEOUT_S = 10

# A cancellation is sent over a connection of its own, and may not arrive. From version 14 on a server can look by
# itself whether anybody still waits (manual, 20.3.2): as often as we cut what was cancelled.
WATCH_CLIENT = """
SELECT set_config(name, '100ms', false) FROM pg_settings WHERE name = 'client_connection_check_interval'
"""


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """One connection. Read-only unless a transaction says otherwise, so that a query's lone statement cannot
    write."""

    is_pooled = False
    session: Session
    """What it has been told."""

    def fileno(self) -> int:
        """Its socket's number. Raises: ValueError where it is closed."""
        if self.is_closed():
            raise ValueError("the connection is closed")
        number: int = self._transport.get_extra_info("socket").fileno()
        return number

    async def be_watched(self) -> None:
        """Have the server stop a statement that nobody waits for, where it can; through a pooler nothing may be set."""
        if self.is_pooled:
            return
        try:
            await self.execute(WATCH_CLIENT)
        except asyncpg.InvalidParameterValueError:
            pass  # A server on a system that does not tell it of closed sockets.

    def rows(self, sql: str, arguments: Sequence[Any], rows_max: int) -> Awaitable[list[Any]]:
        """At most *rows_max* rows, 0 for all. asyncpg's `fetch` has no such limit, its `fetchrow` cannot say
        two."""
        rows: Awaitable[list[Any]] = self._execute(sql, arguments, rows_max, None)
        return rows

    async def affected(self, sql: str, arguments: Sequence[Any]) -> int:
        """How many rows the server says it changed."""
        _, status, _ = await self._execute(sql, arguments, 0, None, return_status=True)
        count = status.decode().rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def affected_many(self, sql: str, rows: Sequence[Sequence[Any]], is_write: bool) -> int:
        """Run it once per row, in one go where the text allows to count what it changed."""
        if not is_write:
            return sum([await self.affected(sql, row) for row in rows])
        # The server sends no count per row here, so it sends a row for each row that it changed.
        counted = sql if " RETURNING " in sql else f"{sql} RETURNING 1"
        return len(await self.fetchmany(counted, rows))

    async def begin_numbered(self, begin: str) -> int | None:
        """Begin a transaction that will write; returns its number (`xid8`), or None where a pooler keeps it to itself.

        The number comes without a round trip of its own: a server reports `application_name` whenever it changes
        (manual, 55.2.7 "Asynchronous Operations"), and this change ends with the transaction.
        """
        await self.execute(f"{begin}; SELECT set_config('application_name', 'toque ' || pg_current_xact_id(), true)")
        number: str = self.get_settings().application_name.rpartition(" ")[2]
        return int(number) if number.isdigit() else None

    async def number(self, *, is_assigned: bool = False) -> int | None:
        """The number of the open transaction; None where it has written nothing, unless it *is_assigned* one now."""
        ask = "pg_current_xact_id" if is_assigned else "pg_current_xact_id_if_assigned"
        number: str | None = await self.fetchval(f"SELECT {ask}()::text")
        return None if number is None else int(number)

    async def forget_plans(self) -> None:
        """Prepare every statement anew: the schema has changed under them."""
        self.session.forget()
        await self.reload_schema_state()

    async def mend(self) -> None:
        # Any statement waits until the server has answered the cancellation of the one before.
        await self.execute("SELECT 1")
        await self.reset()
        await self.be_watched()

    async def settle(self, timeout_s: float) -> None:
        # Each has a connection of its own (PostgreSQL's manual, "Canceling Requests in Progress"), which lives on when
        # this one is cut; asyncpg keeps their tasks here, and has no public word for them.
        if self._cancellations:
            await asyncio.wait(set(self._cancellations), timeout=timeout_s)


async def connect(url: str, *, is_pooled: bool = False, name: str = "toque") -> Connection:
    """Open a connection.

    Args:
        name: what others see it as (`application_name`).
        is_pooled: whether a pooler gives each transaction another session of the server, so that nothing may be left in
            one: no prepared statement, no setting. Every statement must then be in a transaction.
    """
    session = {} if is_pooled else {"default_transaction_read_only": "on"}
    connection: Connection = await asyncpg.connect(
        url,
        connection_class=Connection,
        timeout=CONNECT_TIMEOUT_S,
        statement_cache_size=0 if is_pooled else STATEMENTS_KEPT,
        max_cached_statement_lifetime=0,
        server_settings={**session, "application_name": name},
    )
    keep_from_children(connection)
    try:
        # asyncpg asks the server about the types, which takes more than one message.
        async with connection.transaction(readonly=True):
            for document in ("json", "jsonb"):
                # SQLAlchemy's types write the text of a document themselves.
                await connection.set_type_codec(
                    document, schema="pg_catalog", encoder=str, decoder=msgspec.json.decode, format="text"
                )
        connection.is_pooled = is_pooled
        connection.session = Session(keeps=not is_pooled)
        await connection.be_watched()
    except BaseException:
        # Nobody else knows of it yet.
        connection.terminate()
        raise
    return connection


async def connect_for_engine(url: str, **how: Any) -> Any:
    """A plain connection for an engine of SQLAlchemy's, which itself reads an address otherwise than asyncpg does, and
    knows no `sslmode`."""
    return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, **how)


async def connect_to_move(url: str) -> Connection:
    """A connection for a look at the database, or for moving tables; through a pooler too, so it sets nothing.

    JSON documents come and go as text, in the binary form that COPY wants.
    """
    connection: Connection = await asyncpg.connect(
        url,
        connection_class=Connection,
        timeout=CONNECT_TIMEOUT_S,
        statement_cache_size=0,
        server_settings={"application_name": "toque db"},
    )
    try:
        async with connection.transaction(readonly=True):
            for name, version in (("json", b""), ("jsonb", b"\x01")):
                # PostgreSQL's jsonb_send: one byte of version, then the text.
                await connection.set_type_codec(
                    name,
                    schema="pg_catalog",
                    encoder=lambda text, version=version: version + text.encode(),
                    decoder=lambda data, version=version: bytes(data[len(version) :]).decode(),
                    format="binary",
                )
    except BaseException:
        # As above: a look has little time, and is given up here too.
        connection.terminate()
        raise
    return connection
