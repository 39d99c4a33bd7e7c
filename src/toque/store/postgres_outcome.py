"""What became of a COMMIT whose answer was lost: asked on a new connection, never guessed.

Source: PostgreSQL's manual, 9.27.8, `pg_xact_status`, which is made for this. The server decides for itself when it
notices that the connection is gone: a COMMIT that had arrived is done, one that had not never will be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Literal

from toque.call.context import Context
from toque.store.postgres_connection import Connection
from toque.store.postgres_errors import FAILURES

__all__ = ["FindOut", "Outcome", "find_out"]

Outcome = Literal["committed", "aborted", "unknown"]

FindOut = Callable[[int, Context], Awaitable[Outcome]]
"""What became of the transaction with this number; answers before the call's deadline."""

ASK_S = 10.0
"""How long to ask at most: a server that restarts is back within seconds; a usual deadline is as long."""
ASK_AGAIN_S = 0.05
"""How long between two questions: a local server notices a closed connection within a millisecond."""
MARGIN_S = 0.1
"""How long before the deadline to stop asking: an honest answer has to leave before the call is stopped, which
happens within `admission.TICK_S` of the deadline."""


async def find_out(connect: Callable[[], Awaitable[Connection]], number: int, context: Context) -> Outcome:
    """What became of the transaction *number*."""
    until = monotonic() + min(ASK_S, context.remaining_s - MARGIN_S)
    while (left := until - monotonic()) > 0:
        try:
            async with asyncio.timeout(left):
                status = await _ask_once(connect, number, monotonic() - context.began)
        except (*FAILURES, TimeoutError):
            status = None
        if status in ("committed", "aborted", "unknown"):
            return status
        await asyncio.sleep(min(ASK_AGAIN_S, max(until - monotonic(), 0)))
    return "unknown"


# A server that crashed gives the numbers that were lost with it to others, so after a start since the call came in
# "committed" may be said of another transaction. "Aborted" is true all the same: had ours been committed, its number
# would not have been given again.
_ASK = """
SELECT CASE WHEN status = 'committed' AND pg_postmaster_start_time() > clock_timestamp() - make_interval(secs => $2)
       THEN 'unknown' ELSE status END
FROM pg_xact_status($1::text::xid8) AS status
"""


async def _ask_once(connect: Callable[[], Awaitable[Connection]], number: int, age_s: float) -> Outcome | None:
    connection = await connect()
    try:
        status: Outcome | None = await connection.fetchval(_ASK, str(number), age_s)
        await connection.close(timeout=ASK_AGAIN_S)
        return status
    finally:
        connection.terminate()
