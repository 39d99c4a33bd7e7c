"""Which indexes a database lacks, and which it could do without, each with its statement and the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from toque.store.insight.candidates import candidates
from toque.store.insight.catalog import Catalog, Index, Table, open_catalog
from toque.store.insight.statistics import Cost, recorded

__all__ = ["Advice", "Report", "advise"]

# Below a thousand rows a table is a few pages: reading it whole costs as much as an index.
ROWS_MIN = 1000
# An index that a thousand looks into its table passed by is not used by chance.
LOOKS_MIN = 1000
# The dearest fifty are nearly all of the load; each one costs a few plans.
STATEMENTS_MAX = 50


class Advice(Struct, kw_only=True):
    """One thing to do."""

    act: Literal["create", "drop"]
    table: str
    columns: list[str]
    statement: str
    why: str
    is_verified: bool = False
    """Whether the plan was compared with and without it."""


class Report(Struct, kw_only=True):
    """What was found, and from what."""

    advice: list[Advice]
    source: str
    """Where the statements are known from."""
    statements: int


async def advise(url: str, folder: Path) -> Report:
    """Look at the database at *url*, which is not changed.

    Args:
        folder: the app's folder, where its statements were recorded.
    """
    catalog = await open_catalog(url)
    try:
        costs = await catalog.costs()
        source = "pg_stat_statements" if costs is not None else "recorded statements"
        costs = recorded(folder) if costs is None else costs
        tables = {table.name: table for table in await catalog.tables() if not _is_ours(table.name)}
        missing = await _for_statements(catalog, tables, costs[:STATEMENTS_MAX])
        missing += _for_references(catalog, tables.values(), missing)
        needless = [*_duplicates(catalog, tables.values()), *await _unused(catalog, tables, costs)]
        return Report(advice=[*missing, *needless], source=source, statements=len(costs))
    finally:
        await catalog.close()


def _is_ours(table: str) -> bool:
    return table.startswith("toque_") or table == "alembic_version"


async def _for_statements(catalog: Catalog, tables: dict[str, Table], costs: Sequence[Cost]) -> list[Advice]:
    """Indexes that known statements lack, each tried where it can be."""
    found: dict[tuple[str, tuple[str, ...]], Advice] = {}
    for cost in costs:
        for candidate in candidates(cost.sql, tables):
            table = tables[candidate.table]
            columns = list(candidate.columns)
            if candidate in found or table.rows < ROWS_MIN or _covering(table, columns) is not None:
                continue
            trial = await catalog.trial(cost.sql, table, columns)
            if not trial.helps and not trial.why_not:
                continue
            found[candidate] = Advice(
                act="create",
                table=table.name,
                columns=columns,
                statement=catalog.create(table.name, columns),
                why=f"{_told(cost)}; {trial.why_not or trial.words}",
                is_verified=trial.helps,
            )
    advice = list(found.values())
    return [one for one in advice if not any(_is_prefix(one, other) for other in advice if other is not one)]


def _is_prefix(one: Advice, other: Advice) -> bool:
    """Whether *other* does what *one* does, and more."""
    return one.table == other.table and other.columns[: len(one.columns)] == one.columns


def _told(cost: Cost) -> str:
    where = f" in {', '.join(cost.operations)}" if cost.operations else ""
    text = " ".join(cost.sql.split())
    text = text if len(text) <= 160 else f"{text[:157]}..."
    return f"{cost.calls} runs, {cost.seconds * 1000 / max(cost.calls, 1):.1f} ms each{where}: {text}"


def _for_references(catalog: Catalog, tables: Iterable[Table], advised: Sequence[Advice]) -> list[Advice]:
    """Foreign keys without an index: each change of the row that is referred to reads the whole table."""
    found = []
    for table in tables:
        for columns, to in table.foreign_keys:
            is_advised = any(one.table == table.name and one.columns[: len(columns)] == columns for one in advised)
            if is_advised or any(_leads(index, columns) for index in table.indexes):
                continue
            found.append(
                Advice(
                    act="create",
                    table=table.name,
                    columns=columns,
                    statement=catalog.create(table.name, columns),
                    why=f"a foreign key to {to} without an index: deleting there, and joining from there, reads all "
                    f"of {table.name} (about {table.rows} rows now)",
                )
            )
    return found


def _covering(table: Table, columns: Sequence[str]) -> Index | None:
    return next((index for index in table.indexes if index.columns[: len(columns)] == list(columns)), None)


def _leads(index: Index, columns: Sequence[str]) -> bool:
    """Whether *index* finds rows by *columns*, in whatever order it has them."""
    return not index.is_partial and set(index.columns[: len(columns)]) == set(columns)


def _duplicates(catalog: Catalog, tables: Iterable[Table]) -> list[Advice]:
    """Indexes that another one of the same table replaces."""
    found = []
    for table in tables:
        kept = [index for index in table.indexes if not index.is_partial and all(index.columns)]
        for index in list(kept):
            twin = next((other for other in kept if other is not index and _replaces(other, index)), None)
            if twin is not None:
                kept.remove(index)
                found.append(_dropped(catalog, table, index, f"{twin.name} begins with the same columns"))
    return found


def _replaces(other: Index, index: Index) -> bool:
    if index.is_constraint or other.columns[: len(index.columns)] != index.columns:
        return False
    return not index.is_unique or (other.is_unique and other.columns == index.columns)


async def _unused(catalog: Catalog, tables: dict[str, Table], costs: Sequence[Cost]) -> list[Advice]:
    """Indexes that nothing has used, although there was much occasion."""
    droppable = [(table, index) for table in tables.values() for index in _droppable(table)]
    if catalog.has_counters:
        # One that was made a moment ago has no scans yet: what a known statement would use is left alone.
        wanted = {(one.table, one.columns[0]) for cost in costs for one in candidates(cost.sql, tables)}
        return [
            _dropped(catalog, table, index, f"never used in {table.scans} looks into {table.name}; ask replicas too")
            for table, index in droppable
            if index.scans == 0 and (table.scans or 0) >= LOOKS_MIN and (table.name, index.columns[0]) not in wanted
        ]
    if sum(cost.calls for cost in costs) < LOOKS_MIN:
        return []
    plans = " ".join([f"{await catalog.plan(cost.sql)} " for cost in costs])
    return [
        _dropped(catalog, table, index, f"none of the {len(costs)} recorded statements uses it")
        for table, index in droppable
        if f"INDEX {index.name} " not in plans
    ]


def _droppable(table: Table) -> list[Index]:
    """The indexes that keep no rule, and that no foreign key needs."""
    return [
        index
        for index in table.indexes
        if not (index.is_unique or index.is_constraint)
        and not any(_leads(index, columns) for columns, _ in table.foreign_keys)
    ]


def _dropped(catalog: Catalog, table: Table, index: Index, why: str) -> Advice:
    return Advice(act="drop", table=table.name, columns=index.columns, statement=catalog.drop(index.name), why=why)
