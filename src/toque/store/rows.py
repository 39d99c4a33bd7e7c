"""Whose rows a table holds: the rules that a model declares, as data.

    class Note(Model, tenant="restaurant"):
        ...
        @classmethod
        def __rows__(cls, me: Me) -> Rows:
            mine = cls.author == me.subject
            return Rows(read=mine | me.has_role("chef"), write=mine, stamp={"author": me.subject})

A model that has no rule is refused when the app starts, unless its rows are everybody's:
`class Dish(Model, shared=True)`.
What a rule's own subqueries read is not guarded again: the rule is its author's word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Table, and_, false, select, true

from toque.store.facts import Fact, Me, me

__all__ = [
    "SHARED",
    "Guarded",
    "Me",
    "Rows",
    "Rule",
    "Shared",
    "declare",
    "declared",
    "everybody",
    "made_by",
    "nobody",
    "place_of",
]

Rule = ColumnElement[bool]
"""A condition over the row and the caller. NULL counts as no."""

everybody: Rule = true()
nobody: Rule = false()


class Rows(Struct, frozen=True):
    """Who may do what with the rows of one table, and which fields are hidden from whom.

    A write that is not said is nobody's. Whoever may not read a row cannot change or delete it either.

    Args:
        read: which rows the caller sees.
        write: which rows the caller may insert, change and delete, where `insert`, `change` or `delete` do not say
            else. A changed row must satisfy it before and after.
        hidden: for a column, who sees and sets it; it is NULL to all others, in conditions too.
        stamp: for a column, the fact about the caller that is written into it, whatever the statement says. It never
            changes afterwards.
    """

    read: Rule
    write: Rule = nobody
    insert: Rule | None = None
    change: Rule | None = None
    delete: Rule | None = None
    hidden: Mapping[str, Rule] = msgspec.field(default_factory=dict)
    stamp: Mapping[str, Fact] = msgspec.field(default_factory=dict)


class Shared:
    """The word that a table's rows are everybody's: to read and, for whoever may call the operation, to write."""

    def __repr__(self) -> str:
        return "shared"


SHARED = Shared()


class Guarded(Struct, frozen=True, eq=False):
    """The rules of one table, all of them said."""

    table: Table
    read: Rule
    insert: Rule
    change: Rule
    delete: Rule
    hidden: Mapping[str, Rule]
    stamp: Mapping[str, Fact]
    is_sensitive: bool = False
    """Whether the database enforces the same rules once more by itself."""

    def both(self, rule: Rule) -> Rule:
        """*rule* for a row that is read too: whoever may not read a row cannot write it either."""
        return rule if rule is self.read else and_(self.read, rule)


# Beside the tables, not in their `info`, which Alembic writes into migrations.
_SAID: WeakKeyDictionary[Table, Any] = WeakKeyDictionary()
_MADE_BY: WeakKeyDictionary[Table, type] = WeakKeyDictionary()

Say = Callable[[Me], Rows]


class _Saying(Struct, frozen=True, eq=False):
    """What was said of a table. Read late: a rule may name models that are declared after it."""

    rows: Say | None
    tenant: str
    owner: str
    is_sensitive: bool


def declare(
    table: Table,
    rows: Say | Shared | None = None,
    *,
    tenant: str = "",
    owner: str = "",
    sensitive: bool = False,
) -> None:
    """Say whose rows *table* holds. A model says it in its class; this is for tables that have none.

    Args:
        rows: the rules, or SHARED. Beside *tenant* or *owner*, rules narrow what these allow.
        tenant: the column that holds the tenant: its rows are that tenant's alone, and stamped.
        owner: the column that holds the subject whose row it is, likewise.
        sensitive: whether the database enforces the rules once more by itself.
    Raises: TypeError where nothing is said, or too much.
    """
    if isinstance(rows, Shared):
        if tenant or owner or sensitive:
            raise TypeError(f"table {table.name!r} is shared: without tenant, owner or secret; say one or the other.")
        _SAID[table] = SHARED
    elif rows is None and not tenant and not owner:
        raise TypeError(f"table {table.name!r} does not say whose rows it holds; give rows, tenant or owner.")
    else:
        _SAID[table] = _Saying(rows, tenant, owner, sensitive)


def declared(table: Table) -> Guarded | Shared | None:
    """The rules of *table*; None where it says nothing, which is refused.

    Raises: TypeError where a column that they name is not there.
    """
    said: Any = _SAID.get(table)
    return _guarded(table, said) if isinstance(said, _Saying) else said


def made_by(table: Table, model: type) -> None:
    """Note which class *table* was made from, for `place_of`."""
    _MADE_BY[table] = model


def place_of(table: Table) -> str:
    """`file.py:12`, where the model of *table* is declared; empty where that cannot be known."""
    model = _MADE_BY.get(table)
    if model is None:
        return ""
    try:
        return f"{inspect.getsourcefile(model)}:{inspect.getsourcelines(model)[1]}"
    except (OSError, TypeError):
        return ""


def _guarded(table: Table, said: _Saying) -> Guarded:
    stamp = {name: fact for name, fact in ((said.tenant, me.tenant), (said.owner, me.subject)) if name}
    rows = Rows(read=everybody, write=everybody) if said.rows is None else said.rows(me)
    for name in (*stamp, *rows.stamp, *rows.hidden):
        if name not in table.c:
            known = ", ".join(table.c.keys())
            raise TypeError(f"the rules of table {table.name!r} name the column {name!r}; it has {known}.")
    for rule in (rows.read, rows.write, rows.insert, rows.change, rows.delete, *rows.hidden.values()):
        if rule is not None:
            _refuse_strays(table, rule)
    own = [table.c[name] == fact for name, fact in stamp.items()]
    # One rule stays one object, by which it is seen that reading is enough (`both`).
    said_once = {
        id(rule): and_(*own, rule)
        for rule in (rows.read, rows.write, rows.insert, rows.change, rows.delete)
        if rule is not None
    }
    return Guarded(
        table,
        read=said_once[id(rows.read)],
        insert=said_once[id(_or(rows.insert, rows.write))],
        change=said_once[id(_or(rows.change, rows.write))],
        delete=said_once[id(_or(rows.delete, rows.write))],
        # A mapped attribute alone is no expression yet, and has no columns that could be looked for.
        hidden={key: and_(rule) for key, rule in rows.hidden.items()},
        stamp={**stamp, **rows.stamp},
        is_sensitive=said.is_sensitive,
    )


def _refuse_strays(table: Table, rule: Rule) -> None:
    """A column of another table has no row within a rule, unless a subquery brings it."""
    for found in select(true()).where(rule).get_final_froms():
        if found is not table:
            raise TypeError(f"a rule of table {table.name!r} names columns of {found}; ask other tables with exists().")


def _or(rule: Rule | None, otherwise: Rule) -> Rule:
    return otherwise if rule is None else rule
