"""Who waits for whom in a database: what a figure of waits does not say.

Sessions are told by their process, their name and what they do, never by their statement: it may hold values.
"""

from __future__ import annotations

from toque.store.insight.measures import TIMEOUT_S

__all__ = ["waits"]

WAITS_MAX = 20
"""More than fit on a screen: all of them wait for a few."""

# A transaction that was prepared has no process (PostgreSQL's manual, pg_blocking_pids).
_WAITS = """
WITH session AS (
    SELECT pid, wait_event_type, xact_start, format('process %s (%s, %s for %s s)', pid,
        coalesce(nullif(application_name, ''), usename), state,
        round(extract(epoch FROM clock_timestamp() - coalesce(state_change, xact_start)))) AS words
    FROM pg_stat_activity WHERE datname = current_database()
)
SELECT waiting.words, coalesce(holder.words, 'a prepared transaction (pg_prepared_xacts)')
FROM session AS waiting CROSS JOIN unnest(pg_blocking_pids(waiting.pid)) AS held (pid)
LEFT JOIN session AS holder ON holder.pid = held.pid
WHERE waiting.wait_event_type = 'Lock' ORDER BY waiting.xact_start, holder.xact_start LIMIT $1
"""


async def waits(url: str) -> list[str]:
    """Each session that waits for a lock, with whom it waits for; none on SQLite, which knows no sessions."""
    if url.startswith("sqlite"):
        return []
    from toque.store.postgres_connection import connect_to_move

    connection = await connect_to_move(url)
    try:
        found = await connection.fetch(_WAITS, WAITS_MAX, timeout=TIMEOUT_S)
    finally:
        await connection.close()
    return [f"{waiting} waits for {holder}" for waiting, holder in found]
