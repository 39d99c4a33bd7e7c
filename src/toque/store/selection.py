"""Which columns of a statement answer for which fields of a view.

`select(Order)` names an entity; only the columns that the view has fields for are put into the SQL. Explicit
columns and labels answer by name, and before any entity. What cannot be narrowed without changing its meaning
(DISTINCT, unions, RETURNING) runs as it stands, and the view picks its values from the whole row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import count
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Select, inspect
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.sql.dml import UpdateBase

from toque.store.views import View, nested_view

__all__ = ["Nested", "Selection", "select_for"]


class Nested(Struct, frozen=True):
    """A field that is filled by a relationship: its place in the view, the entity that has it, and the view
    inside."""

    place: int
    entity: Any
    relationship: RelationshipProperty[Any]
    view: Any
    is_list: bool
    keys: tuple[int, ...] = ()
    """Where the arranged row has the values that the related rows are found by."""


class Selection(Struct, frozen=True):
    """A statement, and where its row has each field of the view; a nested field has its place in `nested`
    instead."""

    statement: Any
    picks: tuple[int, ...] = ()
    """For each field its index in the row; -1 when the field is nested."""
    nested: tuple[Nested, ...] = ()
    start: int = 0
    """Where the row's further columns start: those that nested views are found by, then those asked for."""
    behind: int = 0
    """How many there are of them."""


def select_for(view: View, statement: Any, extra: Sequence[Any] = ()) -> Selection:
    """The selection that answers *view*; *extra* columns are put behind the view's own."""
    if not isinstance(statement, Select):
        return _picked(view, statement)
    offered = _Offered(statement.column_descriptions, view)
    columns, nested = (offered.scalar(), []) if view.is_scalar else offered.answers()
    if statement._distinct:
        if nested:
            raise TypeError(f"{view.name} has nested views, which DISTINCT would break; use EXISTS instead.")
        return _picked(view, statement)
    keys, nested = _key_columns(len(view.fields), nested)
    wanted = [column for column in columns if column is not None]
    behind = [*keys, *extra]
    # The FROM list is kept: narrowing an entity away must not turn a join into something else.
    narrowed = statement.with_only_columns(*wanted, *behind, maintain_column_froms=True)
    return Selection(narrowed, _picks(columns), tuple(nested), len(wanted), len(behind))


def _picks(columns: Sequence[Any]) -> tuple[int, ...]:
    index = count()
    return tuple(-1 if column is None else next(index) for column in columns)


def _key_columns(start: int, nested: Sequence[Nested]) -> tuple[list[Any], list[Nested]]:
    """The columns that the relationships start from, and the relationships knowing where in the row they will
    be."""
    keys: list[Any] = []
    placed = []
    for item in nested:
        mapper = item.relationship.parent
        mine = [
            getattr(item.entity, mapper.get_property_by_column(column).key)
            for column in starting_columns(item.relationship)
        ]
        first = start + len(keys)
        keys += mine
        placed.append(structs.replace(item, keys=tuple(range(first, first + len(mine)))))
    return keys, placed


def starting_columns(relationship: RelationshipProperty[Any]) -> list[Any]:
    """The parent's columns whose values find the related rows: the key of a plain pair, else the primary
    key."""
    pair = plain_pair(relationship)
    return [pair[0]] if pair else list(relationship.parent.primary_key)


def plain_pair(relationship: RelationshipProperty[Any]) -> tuple[Any, Any] | None:
    """The one pair of columns that *relationship* equates; None when it says more than that."""
    pairs = relationship.local_remote_pairs or []
    is_equality = getattr(relationship.primaryjoin.operator, "__name__", "") == "eq"
    if relationship.secondary is not None or len(pairs) != 1 or not is_equality:
        return None
    return pairs[0]


class _Offered:
    """What a SELECT offers: named columns, and entities with attributes and relationships."""

    def __init__(self, descriptions: Sequence[Any], view: View) -> None:
        self._view = view
        self._entities = [d["expr"] for d in descriptions if _mapper(d["expr"]) is not None]
        self._columns = {d["name"]: d["expr"] for d in descriptions if _mapper(d["expr"]) is None}

    def scalar(self) -> list[Any]:
        if self._entities or len(self._columns) != 1:
            raise TypeError(
                f"{self._view.name} is one value, so it needs a statement with one column; "
                f"this one has {', '.join(self._names())}."
            )
        return list(self._columns.values())

    def answers(self) -> tuple[list[Any], list[Nested]]:
        """For each field its column, or None and a nested view."""
        columns: list[Any] = []
        nested: list[Nested] = []
        for place, field in enumerate(self._view.fields):
            answer = self._columns.get(field.name)
            if answer is None:
                answer = self._attribute(field.name)
            relationship = getattr(answer, "property", None)
            if isinstance(relationship, RelationshipProperty):
                nested.append(_nested(place, field, answer, relationship, self._view))
                answer = None
            columns.append(answer)
        return columns, nested

    def _attribute(self, name: str) -> Any:
        owners = [entity for entity in self._entities if name in _attributes(entity)]
        if not owners:
            raise missing(self._view.name, name, self._names())
        if len(owners) > 1:
            raise TypeError(
                f"{self._view.name}.{name} could come from {' or '.join(map(str, owners))}; "
                f"select the one that is meant, with .label({name!r})."
            )
        return getattr(owners[0], name)

    def _names(self) -> list[str]:
        return [*self._columns, *(name for entity in self._entities for name in _attributes(entity))]


def missing(view: str, field: str, known: Sequence[str]) -> TypeError:
    near = get_close_matches(field, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'no named columns'}."
    return TypeError(f"{view}.{field} has no column in the statement; {hint}")


def _nested(place: int, field: Any, attribute: Any, relationship: Any, view: View) -> Nested:
    inside = nested_view(field.type)
    if inside is None or inside[1] != bool(relationship.uselist):
        shape = "list[V]" if relationship.uselist else "V | None"
        raise TypeError(
            f"{view.name}.{field.name} names a relationship, so its type must be {shape} with a view V; "
            f"it is {field.type}."
        )
    return Nested(place, attribute.parent.entity, relationship, inside[0], inside[1])


def _mapper(expression: Any) -> Mapper[Any] | None:
    inspected = inspect(expression, raiseerr=False)
    is_entity = getattr(inspected, "is_mapper", False) or getattr(inspected, "is_aliased_class", False)
    return inspected.mapper if is_entity else None


def _attributes(entity: Any) -> list[str]:
    mapper = _mapper(entity)
    assert mapper is not None
    return list(mapper.all_orm_descriptors.keys())


def _picked(view: View, statement: Any) -> Selection:
    """The whole statement, with the index of each field in its row; a text() fills the fields in order."""
    names = list(_row_names(statement))
    if view.is_scalar or not names:
        return Selection(statement, tuple(range(len(view.fields))))
    for field in view.fields:
        if field.name not in names:
            raise missing(view.name, field.name, names)
    return Selection(statement, tuple(names.index(field.name) for field in view.fields))


def _row_names(statement: Any) -> Iterator[str]:
    """The names of a row's values, in order; an entity gives its attributes' names."""
    if isinstance(statement, UpdateBase):
        yield from _returned_names(statement)
        return
    if not isinstance(statement, Select):
        yield from (str(column.key) for column in getattr(statement, "selected_columns", ()))
        return
    for description in statement.column_descriptions:
        mapper = _mapper(description["expr"])
        if mapper is None:
            yield description["name"]
        else:
            yield from (mapper.get_property_by_column(column).key for column in mapper.columns)


def _returned_names(statement: UpdateBase) -> Iterator[str]:
    subject: Any = statement._propagate_attrs
    exported: Any = statement.exported_columns
    mapper: Any = subject.get("plugin_subject")
    if mapper is None:
        yield from (str(column.key) for column in exported)
        return
    mapped = dict(mapper.local_table.c)
    for column in exported:
        own = mapped.get(column.key)
        yield str(column.key) if own is None else mapper.get_property_by_column(own).key
