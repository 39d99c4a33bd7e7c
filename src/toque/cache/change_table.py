"""The changes' table: what every transaction changed, kept for minutes and written to no disk that matters.

On PostgreSQL it is unlogged: after a crash it is empty, and so is the row that names its generation, by which readers
see that they know nothing any more. It has three parts, written in turn and emptied by TRUNCATE, so there is nothing to
vacuum. A part is emptied in two steps with time between them: TRUNCATE is not hidden from older snapshots (manual, 13.6
"Caveats"), so what will be lost is said first, and a look that could not have seen that has ended before it is.
"""

from __future__ import annotations

from toque.log.step import Step

__all__ = ["CHANGES", "SLOT_S"]

SLOTS = 3
SLOT_S = 150
"""A part is written for so long and kept as long again: a reader that was away for less catches up (caching.md 4.1,
five minutes at most)."""

_SLOT = f"(floor(date_part('epoch', clock_timestamp()) / {SLOT_S})::bigint % {SLOTS})::smallint"

_ROTATE = f"""
CREATE FUNCTION toque.rotate_change() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $body$
DECLARE
    part text := 'toque.change_' || (({_SLOT} + 1) % {SLOTS});
    last xid8;
BEGIN
    EXECUTE 'LOCK TABLE ' || part || ' IN ACCESS EXCLUSIVE MODE';
    EXECUTE 'SELECT xid FROM ' || part || ' ORDER BY xid DESC LIMIT 1' INTO last;
    IF last > (SELECT lost FROM toque.change_state) THEN
        UPDATE toque.change_state SET lost = last;
    ELSIF last IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || part;
    END IF;
END $body$
"""  # noqa: S608 - constants

CHANGES = Step(
    "changes",
    postgresql=(
        f"""
        CREATE TABLE toque.change (
            slot smallint NOT NULL DEFAULT {_SLOT},
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            name text NOT NULL,
            columns text NOT NULL DEFAULT '[]',
            images jsonb
        ) PARTITION BY LIST (slot)
        """,
        "CREATE INDEX change_xid ON toque.change (xid)",
        *(
            f"CREATE UNLOGGED TABLE toque.change_{n} PARTITION OF toque.change FOR VALUES IN ({n})"
            for n in range(SLOTS)
        ),
        """
        CREATE UNLOGGED TABLE toque.change_state (
            is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
            generation uuid NOT NULL DEFAULT gen_random_uuid(),
            lost xid8 NOT NULL DEFAULT '0'
        )
        """,
        _ROTATE,
    ),
    sqlite=(
        """
        CREATE TABLE toque_change (
            pos INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            columns TEXT NOT NULL,
            images TEXT NOT NULL,
            at INTEGER NOT NULL DEFAULT (unixepoch())
        )
        """,
        "CREATE TABLE toque_change_state (generation TEXT NOT NULL)",
        "INSERT INTO toque_change_state VALUES (lower(hex(randomblob(16))))",
    ),
)
