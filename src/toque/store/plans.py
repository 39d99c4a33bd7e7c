"""Every statement shape that a store has run, compiled once for the view it is read into.

The key of a plan is SQLAlchemy's own cache key, under which two statements with equal text and types meet,
whatever values they carry. `_generate_cache_key` is private: tests/store/test_cache_key_contract.py holds
what is relied upon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import NULLTYPE

from toque.contract.schema import type_name
from toque.store.compilation import Compilation
from toque.store.conversion import reader
from toque.store.denials import denials_of
from toque.store.guard import Guard
from toque.store.guarded_dialects import guarded
from toque.store.relations import Relation
from toque.store.selection import Selection, select_for
from toque.store.views import View, view_of

__all__ = ["Plan", "Plans"]

# Statement shapes are written by the app's author, so they are as many as its lines. A program that makes
# them without end must not fill the memory: at this number the older half is forgotten.
KEPT_MAX = 4096


_Found = tuple["Plan", Sequence[Any]]
"""A plan, and the binds of the statement that it was found for."""


class Plans:
    """All the plans of one store."""

    def __init__(self, dialect: Dialect, guard: Guard | None = None) -> None:
        """Plans for *dialect*; with a *guard*, those of guarded statements are kept beside them."""
        self.dialect = dialect
        self.guarded = self if guard is None else Plans(guarded(dialect.name, guard))
        """The plans of what calls run: guarded where there is a guard. No plan knows whom it is run for."""
        self.is_system = guard is not None
        """Whether these are the app's own, beside guarded ones: the database's own walls let them through."""
        self.is_guarded = hasattr(dialect, "guard")
        self._plans: dict[Any, Plan] = {}
        self._of: WeakKeyDictionary[Any, dict[Any, _Found]] = WeakKeyDictionary()

    def plan(self, statement: Any, view: Any, names: Iterable[str] = (), extra: tuple[Any, ...] = ()) -> _Found:
        """The plan that reads *view* from *statement* (None: runs it for its effect), and the statement's
        binds.

        Args:
            names: the parameters that will come with it; an INSERT or UPDATE sets the columns of these names.
            extra: columns to read behind the view's own.
        """
        if not isinstance(statement, ClauseElement):
            came = type_name(statement if isinstance(statement, type) else type(statement))
            raise TypeError(f"a statement is built with select(), insert() and their like, got {came}")
        if extra or not names:
            return self._find(statement, view, (), extra)
        # A statement that takes parameters was built to be run again and again. It is known by itself then: the
        # hash of its cache key, a deep tuple, costs as much as all the rest here.
        names = tuple(names) if isinstance(statement, UpdateBase) else ()
        known = self._of.get(statement)
        if known is None:
            if len(self._of) >= KEPT_MAX:
                self._of.clear()
            known = self._of[statement] = {}
        found = known.get((view, names))
        if found is None:
            found = known[(view, names)] = self._find(statement, view, names, ())
        return found

    def _find(self, statement: Any, view: Any, names: tuple[str, ...], extra: tuple[Any, ...]) -> _Found:
        cache_key = statement._generate_cache_key()
        if cache_key is None:
            return Plan(self, statement, view, names, extra), ()
        key = (cache_key.key, view, names, tuple(map(id, extra)))
        plan = self._plans.get(key)
        if plan is None:
            plan = Plan(self, statement, view, names, extra)
            self._keep(key, plan)
        return plan, cache_key.bindparams

    def _keep(self, key: Any, plan: Plan) -> None:
        if len(self._plans) >= KEPT_MAX:
            for old in list(self._plans)[: KEPT_MAX // 2]:
                del self._plans[old]
        self._plans[key] = plan


class Plan(Compilation):
    """One statement shape for one view: SQL, arguments, and `build` from the driver's rows to views."""

    def __init__(self, plans: Plans, statement: Any, view: Any, names: tuple[str, ...], extra: tuple[Any, ...]) -> None:
        shape = None if view is None else view_of(view)
        selection = Selection(statement) if shape is None else select_for(shape, statement, extra)
        super().__init__(selection.statement, statement, plans.dialect, names)
        # The columns are part of the key by identity, so they must live as long as the plan.
        self._extra = extra
        self._width = 0 if shape is None else len(shape.fields)
        self.relations = tuple(Relation(plans, nested) for nested in selection.nested)
        self._make: Callable[[Iterable[Any]], list[Any]] = list if shape is None else shape.build
        self.arrange: Callable[[Iterable[Any]], Iterable[Any]] = list
        if shape is not None:
            self.arrange = self._arranger(shape, selection, plans.dialect)
        self.prepared.is_system = plans.is_system
        self.prepared.is_guarded = plans.is_guarded
        self.reading: Any = None
        """What it reads, for whoever has found that out: once, and as long as the plan lives."""
        self.denials = denials_of(statement, plans.dialect, names)
        """What to ask after a write that a rule may have kept from some rows."""
        self.build = self._make if self.arrange is _as_they_are else self._build

    def finish(self, rows: Iterable[list[Any]]) -> list[Any]:
        """Arranged rows, whose nested fields are filled, as views."""
        return self._make([row[: self._width] for row in rows])

    def _build(self, rows: Iterable[Any]) -> list[Any]:
        return self._make(self.arrange(rows))

    def _arranger(self, view: View, selection: Selection, dialect: Dialect) -> Callable[[Iterable[Any]], Iterable[Any]]:
        """What puts a row into the order of the view's fields, each of the field's type, key columns
        behind."""
        columns = self.compiled._result_columns
        nested = {item.place for item in selection.nested}
        converters = []
        for place, (field, index) in enumerate(zip(view.fields, selection.picks, strict=True)):
            # A text() tells no types: what came is converted to what the field wants.
            sql_type = columns[index].type if index < len(columns) else NULLTYPE
            convert = None if place in nested else reader(sql_type, field.type, dialect)
            if convert is not None:
                converters.append((place, convert))
        for place in range(selection.behind):
            convert = reader(columns[selection.start + place].type, Any, dialect)
            if convert is not None:
                converters.append((self._width + place, convert))
        indexes = (*selection.picks, *range(selection.start, selection.start + selection.behind))
        return _arrangement(indexes, converters, len(columns) or len(indexes))


def _arrangement(
    indexes: Sequence[int], converters: Sequence[tuple[int, Callable[[Any], Any]]], width: int
) -> Callable[[Iterable[Any]], Iterable[Any]]:
    is_in_order = list(indexes) == list(range(width))
    if is_in_order and not converters:
        return _as_they_are

    def arrange(rows: Iterable[Any]) -> list[list[Any]]:
        arranged = []
        for row in rows:
            values = list(row) if is_in_order else [row[index] for index in indexes]
            for place, convert in converters:
                values[place] = convert(values[place])
            arranged.append(values)
        return arranged

    return arrange


def _as_they_are(rows: Iterable[Any]) -> Iterable[Any]:
    return rows
