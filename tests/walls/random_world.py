"""Tables, rules and rows, made at random: each rule once as SQL and once as Python, with SQL's third truth value."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, and_, false, not_, or_, select, true
from vault import calling

from toque.contract.principal import Principal
from toque.store.facts import Me
from toque.store.rows import Rows, declare

PEOPLE, TENANTS, WORDS = ("ana", "ben", "eva"), ("north", "south"), ("x", "y", "z")
ROLES = ("cook", "chief")
CALLERS = [
    *(calling(person, tenant) for person in PEOPLE for tenant in TENANTS),
    calling("ana", "north", roles=frozenset({"cook"}), claims={"level": 3}),
    calling("ben", roles=frozenset({"chief"}), scopes=frozenset({"clean"})),
    calling(),
]
ROWS_MAX = 14
INTEGERS, TEXTS = ("id", "a", "b"), ("tenant", "owner", "t")

Row = dict[str, Any]
Truth = bool | None
"""None is SQL's NULL: what is not known, and what no rule lets through."""


@dataclass(frozen=True)
class Rule:
    """One condition over a row and its caller, written twice."""

    sql: Callable[[Table, Me], Any]
    holds: Callable[[Row, Principal], Truth]


def _equal(one: Any, other: Any) -> Truth:
    return None if one is None or other is None else bool(one == other)


def _and(one: Truth, other: Truth) -> Truth:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _not(one: Truth) -> Truth:
    return None if one is None else not one


EVERYBODY = Rule(lambda table, me: true(), lambda row, who: True)
NOBODY = Rule(lambda table, me: false(), lambda row, who: False)


class World:
    """What *seed* makes: a few tables with rules, and rows in them."""

    def __init__(self, seed: int, prefix: str) -> None:
        self.chance = random.Random(seed)
        self.metadata = MetaData()
        self.tables: list[Table] = []
        self.rules: dict[Table, dict[str, Rule]] = {}
        self.hidden: dict[Table, dict[str, Rule]] = {}
        self.stamps: dict[Table, dict[str, str]] = {}
        self.data: dict[Table, list[Row]] = {}
        for number in range(self.chance.randint(2, 4)):
            self._add(Table(f"{prefix}_{number}", self.metadata, *self._columns()))

    def visible(self, table: Table, me: Principal) -> list[Row]:
        """The rows of *table* that *me* sees, as he sees them."""
        return [
            {name: self._shown(table, row, name, me) for name in row}
            for row in self.data[table]
            if self.may(table, "read", row, me)
        ]

    def may(self, table: Table, action: str, row: Row, me: Principal) -> bool:
        return self.rules[table][action].holds(row, me) is True and self._owns(table, row, me)

    def may_set(self, table: Table, name: str, row: Row, me: Principal) -> bool:
        return name not in self.hidden[table] or self.hidden[table][name].holds(row, me) is True

    def _shown(self, table: Table, row: Row, name: str, me: Principal) -> Any:
        return row[name] if self.may_set(table, name, row, me) else None

    def _owns(self, table: Table, row: Row, me: Principal) -> bool:
        facts = {"tenant": me.tenant or None, "owner": me.subject or None}
        return all(_equal(row[name], facts[name]) for name in self.stamps[table])

    # How it is made.

    def _columns(self) -> list[Column[Any]]:
        texts = [Column(name, String) for name in TEXTS]
        return [Column("id", Integer, primary_key=True), *texts, Column("a", Integer), Column("b", Integer)]

    def _add(self, table: Table) -> None:
        chance = self.chance
        self.data[table] = [self.row(number) for number in range(1, chance.randint(3, ROWS_MAX))]
        read = self._rule(0) if chance.random() < 0.85 else EVERYBODY
        writes = {name: chance.choice([read, EVERYBODY, NOBODY, self._rule(0)]) for name in ("insert", "change")}
        writes["delete"] = chance.choice([read, EVERYBODY, self._rule(0)])
        self.rules[table] = {"read": read, **writes}
        names = chance.sample([*TEXTS[2:], "a", "b"], chance.choice([0, 1, 1, 2]))
        self.hidden[table] = {name: self._rule(1) for name in names}
        stamped = [name for name in ("tenant", "owner") if chance.random() < 0.35]
        self.stamps[table] = dict.fromkeys(stamped, "")
        declare(
            table,
            lambda me: Rows(
                **{name: rule.sql(table, me) for name, rule in self.rules[table].items()},
                hidden={name: rule.sql(table, me) for name, rule in self.hidden[table].items()},
            ),
            tenant="tenant" if "tenant" in stamped else "",
            owner="owner" if "owner" in stamped else "",
        )
        # Rules look at the tables before theirs: what a statement has changed already is seen by its next row on SQLite.
        self.tables.append(table)

    def row(self, number: int) -> Row:
        chance = self.chance
        some: Callable[[Sequence[str]], Any] = lambda of: chance.choice([*of, *of, None])  # noqa: E731
        small = [chance.choice([None, *range(6)]) for _ in "ab"]
        return {
            "id": number,
            "tenant": some(TENANTS),
            "owner": some(PEOPLE),
            "t": some(WORDS),
            "a": small[0],
            "b": small[1],
        }

    def _rule(self, depth: int) -> Rule:
        kind = self.chance.randint(0, 9 if depth < 2 else 4)
        if kind <= 4:
            return self._atom(kind)
        if kind == 9 and self.tables:
            return self._relation()
        one, other = self._rule(depth + 1), self._rule(depth + 1)
        if kind == 5:
            return Rule(
                lambda table, me: and_(one.sql(table, me), other.sql(table, me)),
                lambda row, who: _and(one.holds(row, who), other.holds(row, who)),
            )
        if kind == 6:
            return Rule(lambda table, me: not_(one.sql(table, me)), lambda row, who: _not(one.holds(row, who)))
        return Rule(
            lambda table, me: or_(one.sql(table, me), other.sql(table, me)),
            lambda row, who: _not(_and(_not(one.holds(row, who)), _not(other.holds(row, who)))),
        )

    def _atom(self, kind: int) -> Rule:
        number, role = self.chance.randint(0, 5), self.chance.choice(ROLES)
        return [
            Rule(
                lambda table, me: table.c.owner == me.subject,
                lambda row, who: _equal(row["owner"], who.subject or None),
            ),
            Rule(
                lambda table, me: table.c.tenant == me.tenant,
                lambda row, who: _equal(row["tenant"], who.tenant or None),
            ),
            Rule(
                lambda table, me: table.c.a < number,
                lambda row, who: None if row["a"] is None else bool(row["a"] < number),
            ),
            Rule(lambda table, me: me.has_role(role), lambda row, who: role in who.roles),
            Rule(
                lambda table, me: table.c.b == me.claim("level", table.c.b.type),
                lambda row, who: _equal(row["b"], who.claims.get("level")),
            ),
        ][kind]

    def _relation(self) -> Rule:
        """Whether another table has a row of the caller's that names this one."""
        other, name = self.chance.choice(self.tables), self.chance.choice(["id", "a"])

        def sql(table: Table, me: Me) -> Any:
            seen = other.alias()
            return select(seen.c.id).where(seen.c.b == table.c[name], seen.c.owner == me.subject).exists()

        def holds(row: Row, who: Principal) -> Truth:
            return any(
                _equal(each["b"], row[name]) and _equal(each["owner"], who.subject or None) for each in self.data[other]
            )

        return Rule(sql, holds)
