"""What one SELECT reads of each table in its FROM: predicates from its conditions, joins and row rules.

A row counts that could change the result by being there, by not being there, or by being another. In a group of tables
that are joined by inner joins such a row fulfils all conditions of the group. The nullable side of an outer join is a
group of its own: there the ON condition counts, and what is known about the kept side, but not WHERE (a row that WHERE
refuses takes the place of one full of NULLs); and nothing is learnt from it about the kept side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Table
from sqlalchemy.sql.selectable import Alias, FromGrouping, Join

from toque.cache.conditions import Alternatives, Atom, Equal, Find, Given, Ref, Same, all_of, alternatives
from toque.cache.keys import Key
from toque.cache.predicates import NULL, Condition, Source, Template, Term

__all__ = ["Known", "Member", "templates_of"]


class Known(NamedTuple):
    """What is known about a table."""

    name: str
    keys: Mapping[str, Key]
    """Of the columns that its changes tell, by name."""
    columns: Mapping[str, tuple[str, str]]
    """For each column's key its name, and its kind of value; empty where that has no canonical form."""
    rule: Any = None
    """The condition that the guarded compiler puts around its rows; None where it puts none."""
    hidden: frozenset[str] = frozenset()
    """Columns whose values are NULL for some callers although they are not."""
    table: Any = None
    """Whose columns the rule names."""


class Member(NamedTuple):
    """A table in FROM, maybe under another name."""

    element: Any
    known: Known


_Constants = dict[Ref, tuple[Source, bool]]
"""For a column, where its value comes from, and whether that is a list of values."""


class _Group:
    """Tables that are joined by inner joins, and what hangs on them."""

    def __init__(self) -> None:
        self.members: dict[Any, Member] = {}
        self.conditions: list[Any] = []
        self.nullable: list[tuple[Any, Any]] = []
        """Right sides of outer joins, each with its ON."""
        self.apart: list[Any] = []
        """Both sides of full joins, of which nothing outside says anything."""


def templates_of(
    froms: Sequence[Any], where: Sequence[Any], known: Callable[[Any], Known], find: Find
) -> tuple[list[Template], list[Member]]:
    """The predicates of one SELECT, and the FROM elements that they are about.

    Args:
        known: what is known about a table.
        find: where the value of a bind comes from.
    """
    scope = _Scope(known, find)
    scope.look(_group(froms, where, known), {}, ())
    return list(dict.fromkeys(scope.templates)), scope.members


def _group(froms: Iterable[Any], conditions: Iterable[Any], known: Callable[[Any], Known]) -> _Group:
    group = _Group()
    group.conditions += conditions
    for element in froms:
        _add(element, group, known)
    return group


def _add(element: Any, group: _Group, known: Callable[[Any], Known]) -> None:
    if isinstance(element, FromGrouping):
        _add(element.element, group, known)
    elif isinstance(element, Join):
        _add_join(element, group, known)
    else:
        table = _table_of(element)
        if table is not None:
            group.members[element] = Member(element, known(table))


def _add_join(join: Join, group: _Group, known: Callable[[Any], Known]) -> None:
    if join.full:
        group.apart += [join.left, join.right]
        return
    _add(join.left, group, known)
    if join.isouter:
        group.nullable.append((join.right, join.onclause))
        return
    _add(join.right, group, known)
    group.conditions.append(join.onclause)


def _table_of(element: Any) -> Any:
    """The table that a FROM element is, or is another name of; None for a subquery and its like."""
    if isinstance(element, Table):
        return element
    return element.element if isinstance(element, Alias) and isinstance(element.element, Table) else None


class _Scope:
    def __init__(self, known: Callable[[Any], Known], find: Find) -> None:
        self._known = known
        self._find = find
        self.templates: list[Template] = []
        self.members: list[Member] = []

    def look(self, group: _Group, outside: _Constants, conditions: tuple[Condition, ...]) -> None:
        """Add the predicates of *group*. *Outside* is known for sure about the tables that it hangs on."""
        self.members += group.members.values()
        for alternative in self._alternatives(group, outside):
            mine = (*conditions, *(Condition(atom.source) for atom in alternative if isinstance(atom, Given)))
            constants = self._constants(alternative, outside)
            for member in group.members.values():
                self.templates.append(_template(member, constants, mine))
            for right, on in group.nullable:
                self.look(_group([right], [on], self._known), constants, mine)
        for side in group.apart:
            self.look(_group([side], (), self._known), {}, conditions)

    def _alternatives(self, group: _Group, outside: _Constants) -> Alternatives:
        elements = {*group.members, *(ref.element for ref in outside)}

        def resolve(column: Any) -> Ref | None:
            return Ref(column.table, column.key) if column.table is not None and column.table in elements else None

        parts = [alternatives(condition, resolve, self._find) for condition in group.conditions]
        for member in group.members.values():
            if member.known.rule is not None:
                parts.append(alternatives(member.known.rule, _of_rule(member), self._find))
        return all_of(parts)

    def _constants(self, alternative: Iterable[Atom], outside: _Constants) -> _Constants:
        constants = dict(outside)
        for atom in alternative:
            # A value beats a list, and what was known outside beats both: any of them is true.
            if isinstance(atom, Equal) and (atom.ref not in constants or constants[atom.ref][1]):
                constants[atom.ref] = (atom.source, atom.is_list)
        same = [atom for atom in alternative if isinstance(atom, Same) and self._is_comparable(atom)]
        for _ in same:
            for left, right in _both_ways(same):
                if left in constants and right not in constants and constants[left][0] is not NULL:
                    constants[right] = constants[left]
        return constants

    def _is_comparable(self, atom: Same) -> bool:
        """Whether a value of the one column is written alike for the other, and both hold the same for equal."""
        left, right = self._kind(atom.left), self._kind(atom.right)
        return left == right != ""

    def _kind(self, ref: Ref) -> str:
        known = next(member.known for member in self.members if member.element == ref.element)
        name, kind = known.columns.get(ref.column, ("", ""))
        # Of other columns nobody has looked what the database holds for equal: a collation of their own may be looser.
        return kind if name in known.keys else ""


def _both_ways(same: Iterable[Same]) -> Iterator[tuple[Ref, Ref]]:
    for left, right in same:
        yield left, right
        yield right, left


def _of_rule(member: Member) -> Callable[[Any], Ref | None]:
    """A rule speaks of its model's own table; here that stands under the member's name."""

    def resolve(column: Any) -> Ref | None:
        table = column.table
        is_own = table is not None and table._deannotate() is member.known.table
        return Ref(member.element, column.key) if is_own else None

    return resolve


def _template(member: Member, constants: _Constants, conditions: tuple[Condition, ...]) -> Template:
    known, terms = member.known, {}
    for ref, (source, is_list) in constants.items():
        name, _ = known.columns.get(ref.column, ("", ""))
        key = known.keys.get(name)
        is_masked = source is NULL and ref.column in known.hidden
        is_alike = key is not None and (source is NULL or source.kind == key.kind)
        if key is not None and is_alike and ref.element == member.element and not is_masked:
            terms[name] = Term(name, key, source, is_list)
    return Template(known.name, tuple(terms[name] for name in sorted(terms)), conditions)
