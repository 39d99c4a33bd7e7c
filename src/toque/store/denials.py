"""What an UPDATE or DELETE did not do because of a rule, told as the error that it is.

A rule leaves rows alone that are not the caller's. So once a write met fewer rows than it could, it is asked why:
a row that the caller sees and may not write is Forbidden. A row that was named by its key and that the caller does not
see is NotFound, and nobody can tell whether it is missing or somebody else's. A row whose other conditions do not hold
is neither: a compare-and-set answers 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, UniqueConstraint, func, select
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import Delete, Update
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, Grouping
from sqlalchemy.sql.schema import Column

from toque.contract.errors import NotFound
from toque.store.compilation import Compilation
from toque.store.constraints import forbidden
from toque.store.guard import written_table
from toque.store.guarded_reading import May
from toque.store.guarded_rows import columns_of
from toque.store.rows import Guarded

if TYPE_CHECKING:
    from toque.store.transaction import Transaction

__all__ = ["Denials", "denials_in_session", "denials_of"]

Parameters = Mapping[str, Any]


def denials_of(statement: Any, dialect: Any, names: tuple[str, ...]) -> Denials | None:
    """What to ask after *statement*; None for one that no rule keeps from a row."""
    guard = getattr(dialect, "guard", None)
    if guard is None or not isinstance(statement, (Update, Delete)):
        return None
    _, rules = guard.find(written_table(statement))
    return Denials(statement, rules, dialect, names) if isinstance(rules, Guarded) else None


def denials_in_session(
    statement: Any, dialect: Any, rows: Sequence[Parameters], affected: int
) -> tuple[Denials, Sequence[Any]] | None:
    """What to ask after a session's *statement*, and its binds: nothing of a flush, which names rows by their keys,
    where it met them all."""
    guard = getattr(dialect, "guard", None)
    if guard is None or not isinstance(statement, (Update, Delete)):
        return None
    key = _pinned(guard.find(written_table(statement))[0], statement._where_criteria)
    if affected >= len(rows) and key and all(condition.operator is operators.eq for condition in key):
        return None
    denials = denials_of(statement, dialect, tuple(rows[0]))
    cache_key = statement._generate_cache_key()
    return None if denials is None else (denials, () if cache_key is None else cache_key.bindparams)


class Denials:
    """The questions after one UPDATE or DELETE of a guarded table."""

    def __init__(self, statement: Any, rules: Guarded, dialect: Any, names: tuple[str, ...]) -> None:
        table, rule = rules.table, rules.delete if statement.is_delete else rules.change
        where = statement._where_criteria
        key = _pinned(table, where)
        self._leaves = statement.is_delete or _may_leave(statement, rules, names)
        self._seen: Compilation | None = None
        self._refused: Compilation | None = None
        self._list = ""
        if key:
            seen = select(func.count()).select_from(table).where(*key)
            self._seen = Compilation(seen, statement, dialect, names)
            binds = self._seen.compiled.binds
            self._list = next(
                (name for name, bind in binds.items() if bind.expanding and name in self._seen.sources), ""
            )
        if rule is not rules.read:
            may = May(table, rule)
            refused = select(may).where(*where, may.is_not(True)).limit(1)
            self._refused = Compilation(refused, statement, dialect, names)

    async def look(
        self, transaction: Transaction, binds: Sequence[Any], rows: Sequence[Parameters | None], affected: int
    ) -> None:
        """Raise what kept a write of *rows* from the rows that it did not affect.

        Raises: Forbidden for a row that is seen; NotFound for one that is not, named by its key.
        """
        named = sum(self._named(binds, row) for row in rows) if self._seen is not None else 0
        if self._seen is not None and affected >= named:
            return
        if self._refused is not None:
            for row in rows:
                if await self._read(transaction, self._refused, binds, row):
                    raise forbidden()
        if self._seen is not None:
            seen = affected if self._leaves else 0
            for row in rows:
                seen += (await self._read(transaction, self._seen, binds, row))[0][0]
            if seen < named:
                raise NotFound("There is no such row.")

    def _named(self, binds: Sequence[Any], row: Parameters | None) -> int:
        """How many rows the key in WHERE names."""
        assert self._seen is not None
        return len(set(self._seen.value(self._list, binds, row or {}))) if self._list else 1

    async def _read(
        self, transaction: Transaction, question: Compilation, binds: Sequence[Any], row: Parameters | None
    ) -> Any:
        given = {name: value for name, value in (row or {}).items() if name in question.names}
        prepared, arguments = question.arguments(binds, given, transaction.context.caller)
        return await transaction.fetch(prepared, arguments, 1, list)


def _pinned(table: Table, where: Sequence[Any]) -> list[Any]:
    """The conditions of *where* that together name rows by a key: all of its columns `=`, or the only one IN."""
    equal: dict[str, Any] = {}
    among: dict[str, Any] = {}
    for condition in _conjuncts(where):
        column = _compared(table, condition)
        if column is not None:
            (equal if condition.operator is operators.eq else among)[column.key] = condition
    for key in _keys(table):
        if all(name in equal for name in key):
            return [equal[name] for name in key]
        if len(key) == 1 and key[0] in among:
            return [among[key[0]]]
    return []


def _conjuncts(where: Sequence[Any]) -> Iterator[BinaryExpression[Any]]:
    for condition in where:
        if isinstance(condition, Grouping):
            yield from _conjuncts([condition.element])
        elif isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
            yield from _conjuncts(condition.clauses)
        elif isinstance(condition, BinaryExpression) and condition.operator in (operators.eq, operators.in_op):
            yield condition


def _compared(table: Table, condition: BinaryExpression[Any]) -> Any:
    """The column of *table* that *condition* compares with a value."""
    for column, value in ((condition.left, condition.right), (condition.right, condition.left)):
        is_own = isinstance(column, Column) and column.table is not None and column.table._deannotate() is table
        if is_own and isinstance(value, BindParameter):
            return column
    return None


def _keys(table: Table) -> Iterator[list[str]]:
    yield [column.key for column in table.primary_key.columns]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield [column.key for column in constraint.columns]
    for index in table.indexes:
        is_partial = any(options.get("where") is not None for options in index.dialect_options.values())
        if index.unique and not is_partial and all(isinstance(e, Column) for e in index.expressions):
            yield [column.key for column in index.columns]


def _may_leave(statement: Any, rules: Guarded, names: tuple[str, ...]) -> bool:
    """Whether the change may take a row out of the caller's sight, or give it another key."""
    changed = {getattr(key, "key", key) for key in statement._values or ()} | set(names)
    keys = {name for key in _keys(rules.table) for name in key}
    return not changed.isdisjoint(columns_of(rules.read, rules.table) | keys)
