"""How far whoever follows the log is behind: in events, and since when. One bounded look for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from toque.log.cursor import Cursor
from toque.log.snapshots import bounds
from toque.store.prepared import Prepared

__all__ = ["LAGS", "LAG_MAX", "Lag", "Place", "lags_in", "written"]

LAG_MAX = 10_000
"""Events that are looked at for one place, at most: more are as bad, and counting them costs."""


POS_MAX = 2**63 - 1
"""No position is above it: where the last epoch ends."""


class Place(Struct, frozen=True, kw_only=True):
    """A place in the log, and what is counted from there on."""

    name: str
    cursor: Cursor
    types: tuple[str, ...] | None = None
    """Of which types; None for all."""
    before: float | None = None
    """Only what was published before this moment."""


class Lag(Struct, frozen=True):
    """How far behind a place is."""

    events: int
    oldest_at: float | None
    """When the first of them was published."""


# ruff: noqa: S608 - what is put into a text is a number of ours.
LAGS: Mapping[str, Prepared] = {
    # What is from xmax on, and what had not ended below it, are two walks along the index on xid; what is left of a
    # difference that is being read is one along the positions. Each of them stops. Numbers mean something within their
    # epoch alone (`Cursor.epoch`), which ends where the next one begins; all of the next ones is to be read.
    "postgresql": Prepared(
        f"""
        SELECT p.name, found.events, found.oldest_at
        FROM jsonb_to_recordset($1::text::jsonb) AS p (
            name text, types jsonb, before float8, at bigint, xmax text, xip jsonb, seen text, until text, epoch integer
        ) CROSS JOIN LATERAL (
            SELECT coalesce(max(floor) FILTER (WHERE number = p.epoch), 0) AS floor,
                coalesce(min(floor) FILTER (WHERE number > p.epoch), {POS_MAX}) AS ceiling
            FROM toque.epoch
        ) AS its CROSS JOIN LATERAL (
            SELECT count(*) AS events, min(at) AS oldest_at FROM (
                (SELECT type, extract(epoch FROM at)::float8 AS at, xid, pos FROM toque.event
                    WHERE xid >= p.xmax::xid8 AND pos + 0 > its.floor AND pos + 0 <= its.ceiling
                    ORDER BY xid LIMIT {LAG_MAX})
                UNION ALL
                (SELECT type, extract(epoch FROM at)::float8, xid, pos FROM toque.event
                    WHERE xid = ANY (ARRAY(SELECT jsonb_array_elements_text(p.xip))::xid8[])
                    AND pos + 0 > its.floor AND pos + 0 <= its.ceiling LIMIT {LAG_MAX})
                UNION ALL
                (SELECT type, at, xid, pos FROM (
                    SELECT type, extract(epoch FROM at)::float8 AS at, xid, pos FROM toque.event
                        WHERE p.until <> '' AND pos > greatest(p.at, its.floor)
                        ORDER BY pos LIMIT {LAG_MAX}) AS left_over
                    WHERE pg_visible_in_snapshot(xid, nullif(p.until, '')::pg_snapshot)
                    AND pos <= its.ceiling
                    AND NOT pg_visible_in_snapshot(xid, p.seen::pg_snapshot))
                UNION ALL
                (SELECT type, extract(epoch FROM at)::float8, xid, pos FROM toque.event
                    WHERE pos > its.ceiling ORDER BY pos LIMIT {LAG_MAX})
            ) AS e
            WHERE (p.types IS NULL OR e.type IN (SELECT jsonb_array_elements_text(p.types)))
            AND (p.before IS NULL OR e.at < p.before)
        ) AS found
        """
    ),
    "sqlite": Prepared(
        f"""
        SELECT name, count(e.pos), min(e.at) FROM (
            SELECT json_extract(value, '$.name') AS name, json_extract(value, '$.types') AS types,
                json_extract(value, '$.before') AS before, json_extract(value, '$.at') AS place,
                (SELECT max(pos) FROM (SELECT pos FROM toque_event
                    WHERE pos > json_extract(value, '$.at') ORDER BY pos LIMIT {LAG_MAX})) AS last
            FROM json_each(?1)
        ) LEFT JOIN toque_event AS e ON e.pos > place AND e.pos <= last
            AND (types IS NULL OR e.type IN (SELECT value FROM json_each(types)))
            AND (before IS NULL OR e.at < before)
        GROUP BY name
        """
    ),
}
"""Takes the places (`written`), and gives for each its name, how many events, and when the first was published."""


def written(places: Iterable[Place]) -> str:
    """*places* as the statements take them."""
    return msgspec.json.encode([_row(place) for place in places]).decode()


def lags_in(rows: Iterable[Sequence[Any]]) -> dict[str, Lag]:
    """What a statement has found, by the places' names."""
    return {name: Lag(events, oldest_at) for name, events, oldest_at in rows}


def _row(place: Place) -> dict[str, Any]:
    cursor = place.cursor
    xmax, xip = bounds(cursor.until or cursor.seen)
    return {
        "name": place.name, "types": place.types, "before": place.before,
        "epoch": cursor.epoch, "at": cursor.at, "xmax": xmax, "xip": xip, "seen": cursor.seen, "until": cursor.until,
    }  # fmt: skip
