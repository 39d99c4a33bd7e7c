"""What `toque db revision` writes: of schemas that were not made for it, and of every dangerous change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_models
import pytest
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.exc import DBAPIError

from toque.store.migrations import Refused, Steps, Way, downgrade, revision, upgrade
from toque.store.migrations.questions import Asker, Questions
from toque.store.migrations.session import in_session
from toque.store.migrations.writing import differences

Edit = Callable[[MetaData], Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


def orders(**columns: Any) -> MetaData:
    """A table of orders and one of people, with more columns given by name."""
    metadata = MetaData()
    Table("person", metadata, Column("id", Integer, primary_key=True), Column("name", String(40)))
    Table(
        "orders",
        metadata,
        Column("id", Integer, primary_key=True),
        *(_column(name, kind) for name, kind in columns.items()),
    )
    return metadata


def _column(name: str, kind: Any) -> Column[Any]:
    if isinstance(kind, Column):
        return Column(name, kind.type, index=kind.index)
    return Column(name, *(kind if isinstance(kind, tuple) else (kind,)))


def edited(metadata: MetaData, edit: Edit) -> MetaData:
    edit(metadata)
    return metadata


async def run_all(url: str, metadata: MetaData, folder: Path, message: str, **answers: Any) -> list[Path]:
    files = await revision(url, metadata, folder, message, Questions(**answers))
    await upgrade(url, metadata, folder)
    return files


async def execute(url: str, *statements: Any) -> Any:
    def act(connection: Any) -> Any:
        with connection.begin():
            done = [connection.execute(text(it) if isinstance(it, str) else it) for it in statements]
            return done[-1].all() if done[-1].returns_rows else None

    return await in_session(url, act)


def phases(folder: Path) -> list[str]:
    return [step.phase for step in Steps(folder).all]


async def test_a_schema_that_was_not_made_for_us_comes_back_whole(database_url: str, folder: Path) -> None:
    models = foreign_models.models(database_url)

    await run_all(database_url, models, folder, "first")

    assert phases(folder) == ["expand"]
    assert await differences(database_url, foreign_models.models(database_url), folder) == []
    assert await revision(database_url, foreign_models.models(database_url), folder, "none") == []


async def test_what_a_rebuild_could_lose_is_kept(database_url: str, folder: Path) -> None:
    """A changed table keeps its checks, generated columns, all indexes, triggers, and the rows that refer to it."""
    await run_all(database_url, foreign_models.models(database_url), folder, "first")
    await execute(
        database_url,
        "INSERT INTO employee (id, boss_id, name, grade, pay) VALUES (1, 1, 'Ana', 'a', 10), (2, 1, 'Bo', 'b', 20)",
        """INSERT INTO "Order Line" ("order", line, who, quantity) VALUES (1, 1, 1, 5)""",
        """INSERT INTO "return" ("order", line, why) VALUES (1, 1, 'broken')""",
    )
    if database_url.startswith("sqlite"):
        await execute(
            database_url,
            "CREATE TRIGGER watch AFTER UPDATE ON employee BEGIN UPDATE employee SET notes = 'seen'; END",
        )

    def grow(metadata: MetaData) -> None:
        metadata.tables["employee"].append_column(Column("mate_id", ForeignKey("employee.id", name="mate")))
        metadata.tables["employee"].append_constraint(CheckConstraint("pay < 1000", name="sane"))
        metadata.tables["Order Line"].append_column(Column("rank", Integer, nullable=False))

    models = edited(foreign_models.models(database_url), grow)
    await run_all(database_url, models, folder, "grown", values=["Order Line.rank=quantity * 2"])

    assert await differences(database_url, edited(foreign_models.models(database_url), grow), folder) == []
    assert await execute(database_url, "SELECT id, boss_id, yearly FROM employee ORDER BY id") == [
        (1, 1, 120),
        (2, 1, 240),
    ]
    assert await execute(database_url, 'SELECT rank FROM "Order Line"') == [(10,)]
    assert await execute(database_url, 'SELECT why FROM "return"') == [("broken",)]
    if database_url.startswith("sqlite"):
        kept = await execute(database_url, "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'index')")
        assert {"watch", "employee_by_name", "rich"} <= {name for (name,) in kept}


async def test_going_down_and_up_again_leads_to_the_same(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=String(20)), folder, "first")

    def grow(metadata: MetaData) -> None:
        table = metadata.tables["orders"]
        table.append_column(Column("who", ForeignKey("person.id", name="who")))
        table.append_column(Column("rank", Integer, nullable=False))
        Index("ranked", table.c.rank)
        table.append_constraint(UniqueConstraint("note", name="one_note"))
        table.append_constraint(CheckConstraint("note <> ''", name="noted"))

    models = edited(orders(note=String(20)), grow)
    await run_all(database_url, models, folder, "grown", values=["orders.rank=1"])
    first = Steps(folder).revisions[0]

    back = await downgrade(database_url, models, folder, first, Way(may_lose=True))
    assert back == Steps(folder).revisions[:0:-1]
    assert (await upgrade(database_url, models, folder)).ran == Steps(folder).revisions[1:]
    assert await differences(database_url, models, folder) == []


# Renames.


async def test_a_rename_is_asked_for_and_keeps_the_data(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=String(20), price=Integer), folder, "first")
    await execute(database_url, "INSERT INTO orders (id, note, price) VALUES (1, 'no onions', 3)")

    with pytest.raises(Refused, match=r"orders\.note is gone.*--rename orders\.note=notes.*--no-rename"):
        await revision(database_url, orders(notes=String(20), cost=Integer), folder, "names")
    assert len(phases(folder)) == 1

    answers = {"renames": ["orders.note=notes", "orders.price=cost"]}
    await run_all(database_url, orders(notes=String(20), cost=Integer), folder, "names", **answers)

    assert phases(folder) == ["expand", "switch"]
    assert await execute(database_url, "SELECT notes, cost FROM orders") == [("no onions", 3)]


async def test_the_likeliest_name_of_the_same_type_is_offered_first(database_url: str, folder: Path) -> None:
    asked: list[Any] = []

    class Person(Asker):
        def renamed(self, old: str, candidates: Any) -> str | None:
            asked.append((old, candidates))
            return str(candidates[0])

    await run_all(database_url, orders(note=String(20)), folder, "first")
    models = orders(number=Integer, notes=String(20), count=Integer)
    await revision(database_url, models, folder, "more", Questions(asker=Person()))

    assert asked[0][0] == "orders.note"
    assert asked[0][1][0] == "notes"


async def test_a_renamed_table_takes_its_constraints_and_references_along(database_url: str, folder: Path) -> None:
    names = {"fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s", "pk": "pk_%(table_name)s"}
    names |= {"uq": "uq_%(table_name)s_%(column_0_N_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}

    def people(table: str) -> MetaData:
        metadata = MetaData(naming_convention=names)
        boss = Column("boss_id", ForeignKey(f"{table}.id"), index=True)
        Table(table, metadata, Column("id", Integer, primary_key=True), Column("name", String, unique=True), boss)
        Table("desk", metadata, Column("id", Integer, primary_key=True), Column("who", ForeignKey(f"{table}.id")))
        return metadata

    await run_all(database_url, people("person"), folder, "first")
    await execute(database_url, "INSERT INTO person (id, name) VALUES (1, 'Ana')", "INSERT INTO desk VALUES (1, 1)")

    files = await run_all(database_url, people("colleague"), folder, "names", renames=["person=colleague"])

    assert len(files) == 1
    assert "rename_table" in files[0].read_text()
    assert "drop" not in files[0].read_text()
    assert await execute(database_url, "SELECT name FROM desk JOIN colleague ON who = colleague.id") == [("Ana",)]
    assert await differences(database_url, people("colleague"), folder) == []


async def test_what_is_meant_to_go_is_dropped_last(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=(String(20),), price=Integer), folder, "first")

    await run_all(database_url, orders(remark=String(20), price=Integer), folder, "other", nothing_renamed=True)

    assert phases(folder) == ["expand", "expand", "contract"]


async def test_an_answer_to_no_question_is_told_with_the_nearest_one(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=String(20)), folder, "first")

    with pytest.raises(Refused, match=r"'orders\.nota'.*nearest: 'orders\.note'"):
        await revision(database_url, orders(notes=String(20)), folder, "x", Questions(renames=["orders.nota=notes"]))


# Values for rows that are there.


async def test_a_required_column_demands_a_value(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(), folder, "first")

    def required() -> MetaData:
        return edited(orders(), lambda it: it.tables["orders"].append_column(Column("rank", Integer, nullable=False)))

    with pytest.raises(Refused, match=r"orders\.rank must not be NULL.*--value orders\.rank=0"):
        await revision(database_url, required(), folder, "ranks")

    await execute(database_url, "INSERT INTO orders (id) VALUES (7)")
    await run_all(database_url, required(), folder, "constant", values=["orders.rank=3"])
    assert phases(folder) == ["expand", "expand", "contract"]
    assert await execute(database_url, "SELECT id, rank FROM orders") == [(7, 3)]


async def test_a_computed_value_is_filled_in_batches_between_expand_and_contract(
    database_url: str, folder: Path
) -> None:
    await run_all(database_url, orders(), folder, "first")
    await execute(database_url, "INSERT INTO orders (id) VALUES (7), (8)")
    models = edited(orders(), lambda it: it.tables["orders"].append_column(Column("rank", Integer, nullable=False)))

    files = await run_all(database_url, models, folder, "ranks", values=["orders.rank=id * 10"])

    assert phases(folder)[1:] == ["expand", "backfill", "contract"]
    assert "op.backfill('orders', values={'rank': 'id * 10'})" in files[1].read_text()
    assert await execute(database_url, "SELECT id, rank FROM orders ORDER BY id") == [(7, 70), (8, 80)]
    assert await execute(database_url, "SELECT count(*) FROM toque_backfill") == [(0,)]


async def test_null_is_forbidden_after_it_was_filled(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=String(20)), folder, "first")
    await execute(database_url, "INSERT INTO orders (id) VALUES (7)")
    models = edited(orders(note=String(20)), lambda it: setattr(it.tables["orders"].c.note, "nullable", False))

    await run_all(database_url, models, folder, "noted", values=["orders.note=''"])

    assert phases(folder)[1:] == ["backfill", "contract"]
    assert await execute(database_url, "SELECT note FROM orders") == [("",)]


# Types.


async def test_a_type_is_changed_by_a_second_column(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(total=Integer), folder, "first")
    await execute(database_url, *(f"INSERT INTO orders (id, total) VALUES ({i}, {i})" for i in range(3)))

    await run_all(database_url, orders(total=BigInteger), folder, "larger")

    assert phases(folder)[1:] == ["expand", "backfill", "switch"]
    assert await execute(database_url, "SELECT total FROM orders ORDER BY id") == [(0,), (1,), (2,)]
    assert await differences(database_url, orders(total=BigInteger), folder) == []


async def test_a_wider_type_is_changed_in_its_place(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=String(20), price=Numeric(8, 2)), folder, "first")

    await run_all(database_url, orders(note=String(40), price=Numeric(10, 2)), folder, "wider")

    assert phases(folder)[1:] == ["expand"]


@pytest.mark.parametrize("is_keyed", [False, True])
async def test_another_collation_is_another_type(database_url: str, folder: Path, is_keyed: bool) -> None:
    other = "NOCASE" if database_url.startswith("sqlite") else "C"
    usual, collated = (orders(note=Column(String(20, name), index=is_keyed)) for name in (None, other))
    await run_all(database_url, usual, folder, "first")
    await execute(database_url, "INSERT INTO orders (id, note) VALUES (1, 'plain')")

    for models, name in ((collated, "collated"), (usual, "usual")):
        await run_all(database_url, models, folder, name)
        assert await differences(database_url, models, folder) == []

    each = ["switch"] if is_keyed else ["expand", "backfill", "switch"]
    assert phases(folder)[1:] == each * 2
    assert await execute(database_url, "SELECT note FROM orders") == [("plain",)]


async def test_a_type_that_its_database_calls_otherwise_is_the_same(database_url: str, folder: Path) -> None:
    """On PostgreSQL FLOAT(24) is written down as REAL, and FLOAT as DOUBLE PRECISION."""
    models = orders(little=Float(24), much=Float(53), some=Float)

    await run_all(database_url, models, folder, "first")

    assert await differences(database_url, models, folder) == []


async def test_a_shorter_text_cuts_no_value(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(note=String(20)), folder, "first")
    await execute(database_url, "INSERT INTO orders (id, note) VALUES (1, 'without onions')")
    shorter = orders(note=String(6))
    await revision(database_url, shorter, folder, "shorter")

    if database_url.startswith("postgresql"):
        with pytest.raises(DBAPIError, match=r"value too long for type character varying\(6\)"):
            await upgrade(database_url, shorter, folder)
        assert await execute(database_url, "SELECT note FROM orders") == [("without onions",)]
        await execute(database_url, "UPDATE orders SET note = 'plain'")
    await upgrade(database_url, shorter, folder)

    kept = "without onions" if database_url.startswith("sqlite") else "plain"
    assert await execute(database_url, "SELECT note FROM orders") == [(kept,)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Numeric(10, 3), Numeric(10, 2)),
        (Numeric(10, 2), Integer()),
        (Float(), Integer()),
        (Float(), Numeric(10, 2)),
        (Numeric(20, 4), Float()),
        (DateTime(), Date()),
    ],
    ids=str,
)
async def test_no_value_becomes_a_coarser_one_without_a_word(
    database_url: str, folder: Path, old: Any, new: Any
) -> None:
    await run_all(database_url, orders(price=old), folder, "first")

    with pytest.raises(Refused, match=r"price of orders is .* and was .*--value orders\.NAME="):
        await revision(database_url, orders(price=new), folder, "coarser")


async def test_what_is_coarser_is_made_as_its_author_says(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(price=Numeric(10, 3)), folder, "first")
    await execute(database_url, "INSERT INTO orders (id, price) VALUES (1, 1.005)")
    rounded = edited(orders(), lambda it: it.tables["orders"].append_column(Column("cents", Integer, nullable=False)))

    await run_all(
        database_url, rounded, folder, "cents", nothing_renamed=True, values=["orders.cents=round(price * 100)"]
    )

    assert await execute(database_url, "SELECT cents FROM orders") in ([(100,)], [(101,)])


async def test_what_the_older_release_writes_meanwhile_is_not_lost(database_url: str, folder: Path) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("a rebuild is one transaction there: there is no meanwhile")
    await run_all(database_url, orders(total=Integer), folder, "first")
    await execute(database_url, "INSERT INTO orders (id, total) VALUES (1, 1)")
    await revision(database_url, orders(total=String), folder, "text")
    steps = Steps(folder).revisions
    await upgrade(database_url, orders(total=String), folder, steps[-2])

    await execute(
        database_url, "INSERT INTO orders (id, total) VALUES (2, 2)", "UPDATE orders SET total = 5 WHERE id = 1"
    )
    await upgrade(database_url, orders(total=String), folder)

    assert await execute(database_url, "SELECT total FROM orders ORDER BY id") == [("5",), ("2",)]


# Enums.


def moody(*values: str, native: bool = True) -> MetaData:
    kind = Enum(*values, name="mood", native_enum=native, create_constraint=not native, length=None if native else 20)
    return orders(mood=kind)


@pytest.mark.parametrize("native", [True, False])
async def test_an_enum_takes_new_values_in_their_place(database_url: str, folder: Path, native: bool) -> None:
    await run_all(database_url, moody("happy", "sad", native=native), folder, "first")
    await run_all(database_url, moody("glad", "happy", "calm", "sad", native=native), folder, "more")

    assert set(phases(folder)) == {"expand"}
    await execute(database_url, "INSERT INTO orders (id, mood) VALUES (1, 'calm'), (2, 'glad')")
    if native and database_url.startswith("postgresql"):
        values = await execute(database_url, "SELECT unnest(enum_range(NULL::mood))::text")
        assert [value for (value,) in values] == ["glad", "happy", "calm", "sad"]


@pytest.mark.parametrize("native", [True, False])
async def test_a_removed_value_asks_what_stands_in_for_it(database_url: str, folder: Path, native: bool) -> None:
    await run_all(database_url, moody("happy", "calm", "sad", native=native), folder, "first")
    await execute(database_url, "INSERT INTO orders (id, mood) VALUES (1, 'sad'), (2, 'happy'), (3, NULL)")

    with pytest.raises(Refused, match=r"mood\.sad is no value any more.*--replace mood\.sad=happy"):
        await revision(database_url, moody("happy", "calm", native=native), folder, "less")
    await run_all(database_url, moody("happy", "calm", native=native), folder, "less", replacements=["mood.sad=calm"])

    assert phases(folder)[1:3] == ["expand", "backfill"]
    assert set(phases(folder)[3:]) == {"contract"}
    assert await execute(database_url, "SELECT mood FROM orders ORDER BY id") == [("calm",), ("happy",), (None,)]
    assert await differences(database_url, moody("happy", "calm", native=native), folder) == []


async def test_a_named_type_is_made_once_and_goes_with_its_last_column(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(), folder, "first")
    await run_all(database_url, moody("happy", "sad"), folder, "moods")
    await run_all(database_url, orders(), folder, "none", nothing_renamed=True)

    assert await differences(database_url, orders(), folder) == []
    if database_url.startswith("postgresql"):
        assert await execute(database_url, "SELECT count(*) FROM pg_type WHERE typname = 'mood'") == [(0,)]


# What is not done is said.


async def test_a_generated_column_with_another_expression_is_refused(database_url: str, folder: Path) -> None:
    def doubled(factor: int) -> MetaData:
        column = Column("double", Integer, Computed(f"id * {factor}", persisted=True))
        return edited(orders(), lambda it: it.tables["orders"].append_column(column))

    await run_all(database_url, doubled(2), folder, "first")

    with pytest.raises(Refused, match="new column"):
        await revision(database_url, doubled(3), folder, "threefold")


@pytest.mark.parametrize("kinds", [(Integer, BigInteger), (String(10), String(20))])
async def test_another_type_under_a_generated_column_is_refused(
    database_url: str, folder: Path, kinds: tuple[Any, Any]
) -> None:
    """PostgreSQL refuses it, in its own words and when the rest is done."""
    old, new = (orders(price=kind, total=(kind, Computed("price", persisted=True))) for kind in kinds)
    await run_all(database_url, old, folder, "first")

    with pytest.raises(Refused, match=r"price of orders .* total is computed from it: drop total in a revision before"):
        await revision(database_url, new, folder, "larger")
    assert len(phases(folder)) == 1


async def test_nothing_is_written_where_the_result_would_not_be_the_models(
    database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toque.store.migrations import writing

    monkeypatch.setattr(writing, "_remaining", lambda *_: ["something"])

    with pytest.raises(Refused, match="does not lead to the models: something"):
        await revision(database_url, orders(), folder, "first")
    assert list((folder / "versions").glob("*.py")) == []


async def test_two_last_migrations_are_refused(database_url: str, folder: Path) -> None:
    await run_all(database_url, orders(), folder, "first")
    first = next((folder / "versions").glob("*.py"))
    first.with_name("rival.py").write_text(first.read_text().replace(Steps(folder).revisions[0], "rival"))

    with pytest.raises(Refused, match="2 last migrations"):
        await revision(database_url, orders(note=String), folder, "notes")


async def test_indexes_on_expressions_are_written_and_dropped(database_url: str, folder: Path) -> None:
    def indexed(*parts: Any) -> MetaData:
        metadata = orders(note=String(20))
        if parts:
            Index("by_note", *(part(metadata.tables["orders"].c.note) for part in parts))
        return metadata

    await run_all(database_url, indexed(), folder, "first")
    await run_all(database_url, indexed(func.lower), folder, "lower")
    await run_all(database_url, indexed(func.upper), folder, "upper")
    assert await differences(database_url, indexed(func.upper), folder) == []
    await run_all(database_url, indexed(), folder, "none")
    assert await differences(database_url, indexed(), folder) == []


def indexed(*terms: str) -> MetaData:
    models = orders(note=String(20), who=String(20))
    Index("found", *map(text, terms), _table=models.tables["orders"])
    return models


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["lower(note)"], ["upper(note)"]),
        (["(note || who)"], ["(who || note)"]),
        (["note"], ["lower(note)"]),
        (["lower(note)"], ["note"]),
        (["note", "who"], ["note", "who DESC"]),
        (["note DESC"], ["note"]),
    ],
)
async def test_an_index_that_is_over_something_else_is_built_anew(
    database_url: str, folder: Path, old: list[str], new: list[str]
) -> None:
    """SQLAlchemy reads no expression and no order on SQLite: such a change was not seen, or built twice."""
    await run_all(database_url, indexed(*old), folder, "first")
    first = Steps(folder).revisions[0]

    assert await differences(database_url, indexed(*new), folder) != []
    await run_all(database_url, indexed(*new), folder, "second")

    assert phases(folder)[1:] == ["expand", "expand", "contract"]
    assert await differences(database_url, indexed(*new), folder) == []
    await downgrade(database_url, indexed(*new), folder, first)
    if database_url.startswith("sqlite"):
        ((sql,),) = await execute(database_url, "SELECT sql FROM sqlite_master WHERE name = 'found'")
        assert sql.partition(" ON ")[2] == f"orders ({', '.join(old)})"


async def test_contributed_operations_join_the_revision(
    database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.operations.ops import ExecuteSQLOp

    from toque.store.migrations import difference

    def contribute(connection: Any, models: MetaData, drafts: dict[str, Any]) -> None:
        drafts["expand"].up.append(ExecuteSQLOp("SELECT 1"))
        drafts["expand"].down.append(ExecuteSQLOp("SELECT 2"))

    monkeypatch.setattr(difference, "CONTRIBUTORS", [contribute])
    monkeypatch.setattr("toque.store.migrations.writing._remaining", lambda *_: [])

    files = await revision(database_url, orders(), folder, "first")

    assert "op.execute('SELECT 1')" in files[0].read_text()
    assert "op.execute('SELECT 2')" in files[0].read_text()
