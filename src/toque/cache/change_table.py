"""The changes' table: what every transaction changed, kept for minutes and written to no disk that matters.

On PostgreSQL it is unlogged: after a crash it is empty, and so is the row that names its generation, by which readers
see that they know nothing any more. It has three parts, written in turn and emptied by TRUNCATE, so there is nothing to
vacuum. A part is emptied in two steps with time between them: TRUNCATE is not hidden from older snapshots (manual, 13.6
"Caveats"), so what will be lost is said first, and a look that could not have seen that has ended before it is.

Whoever captures also bounds (decision 0035): where nobody has emptied a part for long, because nobody keeps answers any
more, those who write forget what is oldest. On SQLite that is all there is to it.
"""

from __future__ import annotations

from toque.log.step import Step

__all__ = ["CHANGES", "GENERATION", "KEPT", "SLOT_S"]

SLOTS = 3
SLOT_S = 150
"""A part is written for so long and kept as long again: a reader that was away for less catches up, five
minutes at most."""

LOCK_ID = 0x70C0E2
"""Any number that nothing else locks: one writer at a time forgets what is old."""

KEPT = 100_000
"""Changes that SQLite keeps, some ten megabytes; a reader that has missed more knows nothing any more."""

AT_ONCE = 1000
"""Changes forgotten by one statement, so that it takes milliseconds."""

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
    UPDATE toque.change_state SET rotated_at = clock_timestamp();
END $body$
"""  # noqa: S608 - constants

# Run within others' transactions, so it waits for nobody and empties no part: the lock for that would last until their
# end. What is forgotten is visible to all who look from now on, and who looked last before is told what is lost. In a
# stricter isolation, what it reads and writes could make a write fail.
_BOUND = f"""
CREATE FUNCTION toque.bound_change() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    oldest xid8 := pg_snapshot_xmin(pg_current_snapshot());
    last xid8;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed'
        OR EXISTS (SELECT FROM toque.change_state WHERE rotated_at > clock_timestamp() - interval '{4 * SLOT_S} s')
        OR NOT pg_try_advisory_xact_lock({LOCK_ID}) THEN
        RETURN;
    END IF;
    FOR part IN 0..{SLOTS - 1} LOOP
        EXECUTE format(
            'WITH gone AS (DELETE FROM toque.change_%s WHERE ctid = ANY (ARRAY('
            'SELECT ctid FROM toque.change_%s WHERE xid < $1 ORDER BY xid LIMIT {AT_ONCE})) RETURNING xid) '
            'SELECT xid FROM gone ORDER BY xid DESC LIMIT 1', part, part
        ) INTO last USING oldest;
        UPDATE toque.change_state SET lost = last WHERE lost < last;
    END LOOP;
END $body$
"""  # noqa: S608 - constants

GENERATION = """
    INSERT INTO toque_change_state SELECT lower(hex(randomblob(16)))
    WHERE NOT EXISTS (SELECT 1 FROM toque_change_state)
"""
"""Gives SQLite's log a generation where it has none: at first, or after somebody has emptied all tables."""

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
            lost xid8 NOT NULL DEFAULT '0',
            rotated_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
        _ROTATE,
        _BOUND,
    ),
    sqlite=(
        """
        CREATE TABLE toque_change (
            pos INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            columns TEXT NOT NULL,
            images TEXT NOT NULL
        )
        """,
        f"""
        CREATE TRIGGER toque_bound_change AFTER INSERT ON toque_change WHEN NEW.pos % {AT_ONCE} = 0
        BEGIN DELETE FROM toque_change WHERE pos <= NEW.pos - {KEPT}; END
        """,  # noqa: S608 - constants
        "CREATE TABLE toque_change_state (generation TEXT NOT NULL)",
        GENERATION,
    ),
)
