"""Tables and columns that were renamed: found by asking, because a comparison only sees one gone and one new."""

from __future__ import annotations

from collections.abc import Iterator

from alembic.operations import MigrateOperation
from alembic.operations.ops import RenameTableOp
from sqlalchemy import Dialect, MetaData, Table

from toque.store.migrations import operations as ops
from toque.store.migrations.facts import Facts, Key, TableFacts
from toque.store.migrations.questions import Questions, likeness

__all__ = ["Rename", "columns_renamed", "names_to_follow", "tables_renamed"]

# A reader looks at three names, not at thirty.
CANDIDATES_MAX = 3


class Rename:
    """One rename, there and back."""

    def __init__(self, up: MigrateOperation, down: MigrateOperation, old: str, new: str) -> None:
        self.up, self.down, self.old, self.new = up, down, old, new


def tables_renamed(before: Facts, models: MetaData, dialect: Dialect, questions: Questions) -> Iterator[Rename]:
    """The tables that have another name in the models."""
    wanted: dict[Key, Table] = {(table.schema, table.name): table for table in models.sorted_tables}
    new = [key for key in wanted if key not in before.tables]
    for key in sorted(before.tables.keys() - wanted.keys(), key=str):
        schema, old = key
        columns = before.tables[key].types.keys()
        likely = {
            name: likeness(old, name, is_same_kind=_overlap(columns, wanted[schema, name].columns.keys()) >= 0.5)
            for other, name in new
            if other == schema
        }
        answer = questions.renamed(_dotted(schema, old), _best(likely))
        if answer is not None:
            new.remove((schema, answer))
            yield Rename(
                RenameTableOp(old, answer, schema=schema), RenameTableOp(answer, old, schema=schema), old, answer
            )


def columns_renamed(before: Facts, models: MetaData, dialect: Dialect, questions: Questions) -> Iterator[Rename]:
    """The columns that have another name in the models; tables have their new names already."""
    for table in models.sorted_tables:
        there = before.tables.get((table.schema, table.name))
        if there is None:
            continue
        new = [column.name for column in table.columns if column.name not in there.types]
        for old in sorted(there.types.keys() - {column.name for column in table.columns}):
            likely = {name: _likeness(there, table, old, name, dialect) for name in new}
            answer = questions.renamed(f"{_dotted(table.schema, table.name)}.{old}", _best(likely))
            if answer is not None:
                new.remove(answer)
                yield Rename(
                    ops.RenameColumn(table.name, old, answer, table.schema),
                    ops.RenameColumn(table.name, answer, old, table.schema),
                    old,
                    answer,
                )


def names_to_follow(before: Facts, wanted: Facts, renames: list[Rename]) -> Iterator[Rename]:
    """Constraints and indexes whose names contain a name that changed (models.NAMES makes them so)."""
    for key, there in before.tables.items():
        if key not in wanted.tables:
            continue
        (schema, table), aimed = key, wanted.tables[key]
        for kind, names, goal in (
            (ops.RenameConstraint, there.names, aimed.names),
            (ops.RenameIndex, there.indexes - there.names, aimed.indexes),
        ):
            for name in sorted(names - goal):
                for new in _followed(name, renames) & (goal - names):
                    yield Rename(kind(table, name, new, schema), kind(table, new, name, schema), name, new)


def _followed(name: str, renames: list[Rename]) -> set[str]:
    """What *name* may be called after *renames*: with each of them, and with all."""
    all_of_them = name
    found = set()
    for rename in renames:
        all_of_them = all_of_them.replace(rename.old, rename.new)
        found.add(name.replace(rename.old, rename.new))
    return {*found, all_of_them} - {name}


def _likeness(there: TableFacts, table: Table, old: str, new: str, dialect: Dialect) -> float:
    kind = table.columns[new].type.compile(dialect=dialect)
    return likeness(old, new, is_same_kind=there.types[old].split("(")[0] == str(kind).split("(")[0])


def _best(likely: dict[str, float]) -> list[str]:
    return sorted(likely, key=lambda name: -likely[name])[:CANDIDATES_MAX]


def _overlap(some: object, others: object) -> float:
    left, right = set(some), set(others)  # type: ignore[call-overload]
    return len(left & right) / max(len(left | right), 1)


def _dotted(schema: str | None, name: str) -> str:
    return f"{schema}.{name}" if schema else name
