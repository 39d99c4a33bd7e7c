"""Rules themselves: how they are said, what a database makes of them, and whom they serve."""

from __future__ import annotations

from typing import Any

import pytest
from archive import attempt, rows_of
from archive_models import ANN, BOB, CHIEF, SEEN, ZOE, Base, Diary, Member, Note
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, and_, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, with_polymorphic

from toque.call.context import Context
from toque.contract.complaints import Complaint
from toque.contract.errors import Forbidden, NotFound
from toque.contract.principal import ANONYMOUS, Principal
from toque.store import AllRows, Database, Store, open_store
from toque.store.described import rules_of
from toque.store.dialects import sqlite
from toque.store.facts import Me, filled, me
from toque.store.guard import Guard, guard_of
from toque.store.guarded_dialects import guarded
from toque.store.models import NAMES, Conventions
from toque.store.rows import Guarded, Rows, Shared, declare, declared
from toque.store.schema import create_missing
from toque.store.sql import Sql


@pytest.mark.parametrize(("principal", "seen"), [(ANN, SEEN), (BOB, [2, 3]), (ZOE, [4]), (CHIEF, []), (ANONYMOUS, [])])
async def test_one_plan_serves_every_caller(archive: Store, principal: Principal, seen: list[int]) -> None:
    outcome = await attempt(archive, lambda db: rows_of(db, select(Note.id).order_by(Note.id)), principal)

    assert [row[0] for row in outcome.result] == seen


async def test_a_rule_may_ask_for_a_role(archive: Store) -> None:
    statement = insert(Member).values(person="cleo", project=2)

    assert (await attempt(archive, lambda db: db.execute(statement), CHIEF)).result == 1
    assert isinstance((await attempt(archive, lambda db: db.execute(statement), ANN)).error, Forbidden)


async def test_nobody_writes_as_nobody(archive: Store) -> None:
    outcome = await attempt(archive, lambda db: db.execute(insert(Diary).values(page="x")), ANONYMOUS)

    assert isinstance(outcome.error, Forbidden)


async def test_a_missing_row_and_a_foreign_row_have_the_same_answer(archive: Store) -> None:
    def answers(key: int) -> list[Any]:
        return [update(Note).where(Note.id == key).values(text="x"), delete(Note).where(Note.id == key)]

    missing = [await attempt(archive, lambda db, s=s: db.execute(s)) for s in answers(999)]
    foreign = [await attempt(archive, lambda db, s=s: db.execute(s)) for s in answers(4)]

    assert [type(outcome.error) for outcome in missing] == [NotFound, NotFound]
    assert [repr(outcome.error) for outcome in missing] == [repr(outcome.error) for outcome in foreign]


async def test_all_rows_are_past_the_rules(archive: Store) -> None:
    outcome = await attempt(archive, lambda db: AllRows.of(db).scalar(select(func.count()).select_from(Note)))

    assert outcome.result == 6


async def test_the_wrapper_keeps_the_plans_of_indexes(archive: Store) -> None:
    async def explain(db: Database) -> str:
        plan, binds = db._plans.plan(and_plain(), None)
        prepared, arguments = plan.arguments(binds, None, ANN)
        how = "EXPLAIN QUERY PLAN" if archive.dialect_name == "sqlite" else "EXPLAIN"
        raw = type(prepared)(f"{how} {prepared.sql}")
        rows = await db._transaction.fetch(raw, arguments, 0, list)
        return "\n".join(str(row[-1]) for row in rows)

    if archive.dialect_name == "postgresql":

        async def forced(db: Database) -> str:
            # A table of six rows is read faster than its index.
            await db._transaction.fetch(_raw("SET LOCAL enable_seqscan = off"), [], 0, list)
            return await explain(db)
    else:
        forced = explain

    outcome = await attempt(archive, forced)

    assert outcome.error is None
    assert "pk_note" in outcome.result or "SEARCH note USING INTEGER PRIMARY KEY" in outcome.result, outcome.result
    assert "Subquery Scan" not in outcome.result
    assert "CO-ROUTINE" not in outcome.result
    assert "MATERIALIZE" not in outcome.result


def _raw(sql: str) -> Any:
    from toque.store.prepared import Prepared

    return Prepared(sql)


def and_plain() -> Any:
    return select(Note.id, Note.text).where(and_(Note.id == 1, Note.level == 1))


class Own(Conventions, DeclarativeBase):
    """Declared for the tests below; its tables are never made."""

    metadata = MetaData(naming_convention=NAMES)


class Tenanted(Own, tenant="tenant"):
    __abstract__ = True
    tenant: Mapped[str]


class Kept:
    """A mixin that says whose rows they are."""

    keeper: Mapped[str]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=cls.keeper == me.subject)


class Plan(Tenanted):
    id: Mapped[int] = mapped_column(primary_key=True)


class Secret(Kept, Tenanted):
    id: Mapped[int] = mapped_column(primary_key=True)


class Open(Tenanted, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)


class Animal(Own, owner="keeper"):
    id: Mapped[int] = mapped_column(primary_key=True)
    keeper: Mapped[str]
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Cat(Animal):
    __mapper_args__ = {"polymorphic_identity": "cat"}


def _declared(model: Any) -> Any:
    return declared(model.__table__)


def test_an_abstract_base_says_it_for_its_subclasses() -> None:
    assert list(_declared(Plan).stamp) == ["tenant"]


def test_a_mixin_says_rules() -> None:
    rules = _declared(Secret)

    assert isinstance(rules, Guarded)
    assert list(rules.stamp) == ["tenant"]
    assert "keeper" in str(rules.read)


def test_a_subclass_may_say_else() -> None:
    assert isinstance(_declared(Open), Shared)


def test_single_table_inheritance_has_the_rules_of_its_table() -> None:
    guard = guard_of(Own.metadata, Sql(), [])
    assert guard is not None

    sql = str(select(Cat.id).compile(dialect=guarded("sqlite", guard)))

    assert "animal.keeper = ?" in sql


def test_a_class_that_shares_a_table_cannot_say_whose_rows_it_holds() -> None:
    with pytest.raises(TypeError, match="shares the table"):
        type("Dog", (Animal,), {"__mapper_args__": {"polymorphic_identity": "dog"}}, shared=True)


def test_whoever_says_nothing_or_wrong_is_told_all_at_once() -> None:
    metadata = MetaData()
    Table("silent", metadata, Column("id", Integer, primary_key=True))
    declare(Table("wrong", metadata, Column("id", Integer, primary_key=True)), tenant="tennant")
    wrong: list[Complaint] = []

    guard_of(metadata, Sql(), wrong)

    assert [complaint.subject for complaint in wrong] == ["model silent", "model wrong"]
    assert "shared=True" in wrong[0].remedy
    assert "tennant" in wrong[1].problem


def test_a_schema_is_part_of_a_tables_name() -> None:
    metadata = MetaData()
    table = Table("bill", metadata, Column("id", Integer), Column("tenant", String), schema="sales")
    declare(table, tenant="tenant")
    guard = guard_of(metadata, Sql(), [])
    assert guard is not None
    other = table.alias()

    for statement in (select(table.c.id), select(table.c.id, other.c.id).join(other, other.c.id == table.c.id)):
        sql = " ".join(str(statement.compile(dialect=guarded("postgresql", guard))).split())
        assert "FROM sales.bill WHERE (sales.bill.tenant = $1::VARCHAR)) AS sales_bill" in sql
        assert sql.startswith("SELECT sales_bill.id")
    changed = str(update(table).where(table.c.id == 1).values(id=2).compile(dialect=guarded("postgresql", guard)))
    assert "UPDATE sales.bill SET" in changed


def test_a_fact_has_no_value_outside_of_rules() -> None:
    compiled = select(me.subject).compile(dialect=sqlite())

    with pytest.raises((PermissionError, StatementError)):
        _ = compiled.params


def test_a_guarded_statement_brings_facts_and_no_values(guard: Guard) -> None:
    compiled = select(aliased(Note).id).compile(dialect=guarded("sqlite", guard))
    arguments = [compiled.params[name] for name in compiled.positiontup or ()]

    assert "ann" not in map(str, arguments)
    assert filled(arguments, ANN).count("acme") == 1


def test_what_an_app_allows_is_allowed() -> None:
    sql = Sql(functions={"crc32"}, operators={"<->"}, texts={"SELECT 1"})
    guard = guard_of(Base.metadata, sql, [])
    assert guard is not None

    assert "crc32" in str(select(func.crc32(Note.text)).compile(dialect=guarded("postgresql", guard)))
    assert "<->" in str(select(Note.id.op("<->")(1)).compile(dialect=guarded("postgresql", guard)))


def test_rules_are_described(guard: Guard) -> None:
    lines = {rule: (words, sql) for rule, words, sql in rules_of(guard, "Note", "sqlite") or ()}

    assert lines["see and set secret"] == ("note.author = the caller", "note.author = ?")
    assert lines["stamp tenant"][0] == "the caller's tenant"
    assert rules_of(guard, "nothing", "sqlite") is None


class HiddenBase(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Grade(HiddenBase):
    """Everybody's row, but for its mark, which is seen and set only while it is open."""

    id: Mapped[int] = mapped_column(primary_key=True)
    is_open: Mapped[bool]
    mark: Mapped[int]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=me.is_authenticated, write=me.is_authenticated, hidden={"mark": cls.is_open})


@pytest.mark.parametrize("form", ["update", "upsert"])
async def test_a_hidden_column_is_not_set_by_what_hides_it(database_url: str, form: str) -> None:
    """The rule of a hidden column holds for the row as it was, and for the row that the statement makes of it."""
    await create_missing(database_url, HiddenBase.metadata)
    store = open_store(database_url, guard=guard_of(HiddenBase.metadata, Sql(), []))
    await store.start()
    try:
        row = {"id": 1, "is_open": True, "mark": 1}
        await store.command(lambda db: AllRows.of(db).execute(insert(Grade), row))

        def change(**values: Any) -> Any:
            if form == "update":
                return update(Grade).where(Grade.id == 1).values(**values)
            make = postgresql.insert if store.dialect_name == "postgresql" else sqlite_dialect.insert
            return make(Grade).values(row).on_conflict_do_update(index_elements=["id"], set_=values)

        ann = Context.within("test", 60, ANN)
        assert await store.command(lambda db: db.execute(change(mark=2)), ann) == 1
        with pytest.raises(Forbidden):
            await store.command(lambda db: db.execute(change(mark=3, is_open=False)), ann)
        assert await store.query(lambda db: AllRows.of(db).scalar(select(Grade.mark))) == 2
        assert await store.command(lambda db: db.execute(change(is_open=False)), ann) == 1
        with pytest.raises(Forbidden):
            await store.command(lambda db: db.execute(change(mark=4, is_open=True)), ann)
        assert await store.query(lambda db: AllRows.of(db).scalar(select(Grade.mark))) == 2
    finally:
        await store.stop()


class WholeBase(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Person(WholeBase, tenant="tenant"):
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=me.is_authenticated, insert=me.is_authenticated, change=cls.kind != "chief")


class Chef(Person):
    """A part of a person in a table of its own: joined-table inheritance."""

    __tablename__ = "chef"
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    sauce: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "chef"}


class Chief(Chef):
    __tablename__ = "chief"
    id: Mapped[int] = mapped_column(ForeignKey("chef.id"), primary_key=True)
    bonus: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "chief"}


async def test_a_part_of_a_row_in_a_joined_table_is_whose_the_row_is(database_url: str) -> None:
    await create_missing(database_url, WholeBase.metadata)
    wrong: list[Complaint] = []
    store = open_store(database_url, guard=guard_of(WholeBase.metadata, Sql(), wrong))
    assert not wrong
    await store.start()

    async def hire(db: Database) -> None:
        async with db.session() as session:
            session.add_all([Chef(id=1, sauce="ours"), Chief(id=2, sauce="secret", bonus=5)])

    async def seen(db: Database) -> list[Any]:
        async with db.session() as session:
            people = (await session.scalars(select(with_polymorphic(Person, "*")).order_by(Person.id))).all()
            return [(type(person).__name__, person.tenant) for person in people]

    try:
        ann, zoe = Context.within("test", 60, ANN), Context.within("test", 60, ZOE)
        await store.command(hire, ann)
        assert await store.query(seen, ann) == [("Chef", "acme"), ("Chief", "acme")]
        assert await store.query(seen, zoe) == []
        # The part's own table alone, without the row that it belongs to.
        for column in (Chef.__table__.c.sauce, Chief.__table__.c.bonus):
            assert await store.query(lambda db, c=column: db.scalar(select(func.count(c))), zoe) == 0
        with pytest.raises(NotFound):
            await store.command(lambda db: db.execute(update(Chef.__table__).where(_key(1)).values(sauce="x")), zoe)
        assert await store.command(lambda db: db.execute(update(Chef.__table__).where(_key(1)).values(sauce="x")), ann)
        with pytest.raises(Forbidden):
            await store.command(lambda db: db.execute(update(Chef.__table__).where(_key(2)).values(sauce="x")), ann)
        with pytest.raises(Forbidden):
            await store.command(lambda db: db.execute(insert(Chef.__table__).values(id=1, sauce="x")), zoe)
    finally:
        await store.stop()


def _key(number: int) -> Any:
    return Chef.__table__.c.id == number


def test_a_rule_names_columns_of_its_own_table_or_asks_within_a_subquery() -> None:
    class Stray(WholeBase):
        id: Mapped[int] = mapped_column(primary_key=True)

        @classmethod
        def __rows__(cls, me: Me) -> Rows:
            return Rows(read=Person.tenant == me.tenant)

    wrong: list[Complaint] = []
    guard_of(WholeBase.metadata, Sql(), wrong)
    WholeBase.metadata.remove(Stray.__table__)  # type: ignore[arg-type]

    assert [complaint.subject for complaint in wrong] == ["model stray"]
    assert "columns of person" in wrong[0].problem
