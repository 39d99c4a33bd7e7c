"""Whatever changes a row, by whatever statement, tells it: the rows before and after are looked up in what was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import pytest
from library import TABLES, author, book
from sqlalchemy import Column, Connection, Index, Integer, MetaData, String, Table, Text, func, insert

from toque.cache.capture import faults, install
from toque.cache.change import Change
from toque.cache.changes import Images, changes_of
from toque.cache.keys import keys_of
from toque.call.context import Context
from toque.contract.principal import Principal
from toque.store import Sql, Store, open_store
from toque.store.guard import guard_of
from toque.store.models import NAMES
from toque.store.rows import declare
from toque.store.schema import create_missing, with_connection

Act = Callable[[Connection], Any]

ROWS = (
    "INSERT INTO author (id, name, boss_id) VALUES (1, 'ann', NULL), (2, 'bob', 1), (3, 'cat', 1)",
    "INSERT INTO book (id, author_id, shelf) VALUES (1, 1, 10), (2, 2, 20), (3, 2, NULL)",
    "INSERT INTO member (id, subject) VALUES (1, 'ann'), (2, 'bob')",
    "INSERT INTO loan (id, book_id, reader, branch) VALUES (1, 1, 'ann', 'north'), (2, 2, 'bob', 'south')",
)

EVERYWHERE = {
    "insert": ["INSERT INTO author (id, name) VALUES (7, 'dan')"],
    "insert from select": ["INSERT INTO book (id, author_id) SELECT id + 100, author_id FROM book"],
    "update": ["UPDATE book SET shelf = 11 WHERE id = 1"],
    "update of what is no key": ["UPDATE book SET note = 'x' WHERE id = 1"],
    "update of a key": ["UPDATE book SET id = 50 WHERE id = 3"],
    "update to NULL": ["UPDATE book SET author_id = NULL WHERE id = 1"],
    "delete": ["DELETE FROM book WHERE id = 3"],
    "delete all": ["DELETE FROM loan"],
    "cascade": ["DELETE FROM author WHERE id = 2"],
    "set null": ["UPDATE author SET boss_id = 2 WHERE id = 3", "DELETE FROM author WHERE id = 2"],
    "do update": ["INSERT INTO member (id, subject) VALUES (1, 'eve') ON CONFLICT (id) DO UPDATE SET subject = 'eve'"],
    "do nothing": ["INSERT INTO member (id, subject) VALUES (1, 'eve') ON CONFLICT DO NOTHING"],
    "savepoint": [
        "SAVEPOINT a",
        "UPDATE book SET shelf = 12 WHERE id = 1",
        "ROLLBACK TO SAVEPOINT a",
        "SAVEPOINT b",
        "UPDATE book SET shelf = 13 WHERE id = 2",
        "RELEASE SAVEPOINT b",
    ],
    "several": [
        "UPDATE book SET shelf = 14 WHERE id = 1",
        "UPDATE book SET shelf = 15 WHERE id = 1",
        "DELETE FROM loan",
    ],
    "a long text": [f"UPDATE author SET name = '{'x' * 1000}' WHERE id = 1"],
}
ON_SQLITE = {
    "replace": ["INSERT OR REPLACE INTO book (id, author_id, shelf) VALUES (1, 2, 99)"],
    "replace by another key": ["REPLACE INTO member (id, subject) VALUES (9, 'bob')"],
    "update or replace": ["UPDATE OR REPLACE member SET subject = 'bob' WHERE id = 1"],
    "a blob in a text": ["UPDATE author SET name = x'ff00' WHERE id = 1"],
    "recursive triggers": ["PRAGMA recursive_triggers = 1", "REPLACE INTO member (id, subject) VALUES (9, 'bob')"],
}
ON_POSTGRES = {
    "truncate": ["TRUNCATE loan CASCADE"],
    "truncate cascade": ["TRUNCATE author CASCADE"],
    "merge": [
        "MERGE INTO member USING (VALUES (1, 'eve'), (5, 'fay')) AS given(id, subject) ON member.id = given.id "
        "WHEN MATCHED THEN UPDATE SET subject = given.subject WHEN NOT MATCHED THEN INSERT VALUES (given.id, given.subject)"
    ],
    "merge delete": ["MERGE INTO loan USING book ON loan.book_id = book.id WHEN MATCHED THEN DELETE"],
    "a function": ["DO $$ BEGIN UPDATE book SET shelf = 16 WHERE id = 1; END $$"],
    "a CTE that writes": ["WITH gone AS (DELETE FROM loan RETURNING id) SELECT * FROM gone"],
    "update from": ["UPDATE book SET shelf = author.id FROM author WHERE book.author_id = author.id"],
    "as a replica": ["SET LOCAL session_replication_role = replica", "UPDATE book SET shelf = 17 WHERE id = 1"],
    "a search_path of the writer's": [
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine.count(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "SET LOCAL search_path = mine, public, pg_catalog",
        "UPDATE book SET shelf = 18 WHERE id = 1",
    ],
}


async def _run(url: str, act: Act) -> Any:
    return await asyncio.to_thread(with_connection, url, act)


def _statements(texts: Sequence[str]) -> Act:
    def act(connection: Connection) -> None:
        for statement in texts:
            connection.exec_driver_sql(statement)

    return act


async def _captured(store: Store, texts: Sequence[str]) -> list[Change]:
    """What is told of these statements, after the rows of each table were looked up in it."""
    changes = changes_of(store, TABLES)
    before = await changes.look(None)
    old = await _run(store.url, _keys(store.dialect_name))
    await _run(store.url, _statements(texts))
    new = await _run(store.url, _keys(store.dialect_name))
    seen = await changes.look(before.snapshot)

    assert not seen.is_gap
    for table in TABLES:
        told = [change for change in seen.changes if change.table == table.fullname]
        for image in set(old[table.name]) ^ set(new[table.name]):
            assert any(change.images is None or dict(image[1:]) in change.images for change in told), image
    return list(seen.changes)


def _keys(dialect_name: str) -> Act:
    """All rows: a digest of each with its image, as the database itself writes it."""

    def act(connection: Connection) -> dict[str, list[Any]]:
        found = {}
        for table in TABLES:
            keys = keys_of(table, dialect_name)
            whole = (
                f"{table.name}::text"
                if dialect_name == "postgresql"
                else " || '|' || ".join(f"quote({c.name})" for c in table.c)
            )
            rows = connection.exec_driver_sql(
                f"SELECT {whole} AS whole, {', '.join(map(_shown(dialect_name), keys))} FROM {table.name}"
            )
            found[table.name] = [
                (
                    row[0],
                    *((name, key.of_image(value)) for (name, key), value in zip(keys.items(), row[1:], strict=True)),
                )
                for row in rows
            ]
        return found

    return act


def _shown(dialect_name: str) -> Callable[[str], str]:
    if dialect_name == "sqlite":
        return lambda name: (
            f"CASE typeof({name}) WHEN 'blob' THEN 'blob' || quote({name}) WHEN 'text' THEN substr({name}, 1, 200) ELSE {name} END"
        )
    texts = {"name", "reader", "branch", "subject", "state"}
    return lambda name: (
        f"left({name}::text, 200)" if name in texts else f"{name}::text" if name in {"code", "printed"} else name
    )


# One database for all: making one takes longer than all statements together.
RESET = (
    "DELETE FROM review",
    "DELETE FROM loan",
    "DELETE FROM book",
    "DELETE FROM author",
    "DELETE FROM member",
    *ROWS,
)


async def test_every_change_is_told(library: Store) -> None:
    own = {"sqlite": ON_SQLITE, "postgresql": ON_POSTGRES}[library.dialect_name]
    for name, texts in {**EVERYWHERE, **own}.items():
        await _run(library.url, _statements(RESET))
        try:
            await _captured(library, texts)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_no_text_may_have_been_any_row(library: Store) -> None:
    await _run(library.url, _statements(ROWS))
    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    await _run(library.url, _statements(["UPDATE author SET name = CAST(x'ff' AS TEXT) WHERE id = 1"]))

    assert [(found.table, found.images) for found in (await changes.look(before.snapshot)).changes] == [
        ("author", None)
    ]


@pytest.mark.parametrize(
    "images", ['[[1, ["a"]]]', "[[1, 2]]", "[[1]]", "[[1, {}]]", '[["a", "b", "c"]]', "1", "[1", b"\xff"]
)
def test_what_is_no_image_may_have_been_any_row(images: str | bytes) -> None:
    told = Images(TABLES, "postgresql").change("book", '["id", "code"]', images)

    assert told == Change("book", None)


async def test_what_changed_nothing_is_not_told(library: Store) -> None:
    await _run(library.url, _statements(ROWS))

    assert (
        await _captured(library, ["UPDATE book SET shelf = 1 WHERE id = 999", "DELETE FROM loan WHERE id = 999"]) == []
    )


async def test_what_is_undone_is_not_told(library: Store) -> None:
    changes = changes_of(library, TABLES)
    before = await changes.look(None)

    await asyncio.to_thread(with_connection, library.url, _statements(ROWS), is_kept=False)

    assert (await changes.look(before.snapshot)).changes == ()


async def test_the_rows_before_and_after_are_told(library: Store) -> None:
    await _run(library.url, _statements(ROWS))

    (change,) = await _captured(library, ["UPDATE book SET author_id = 2 WHERE id = 1"])

    assert change.images is not None
    assert sorted(str(image["author_id"]) for image in change.images) == ["1", "2"]


async def test_a_statement_of_20_000_rows_is_told_in_few_words(library: Store) -> None:
    def fill(connection: Connection) -> None:
        connection.execute(insert(author), [{"id": n, "name": "ann"} for n in range(20_000)])

    await _run(library.url, fill)
    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    await _run(library.url, _statements(["UPDATE author SET fame = 1, name = 'bob'"]))

    assert [(found.table, found.images) for found in (await changes.look(before.snapshot)).changes] == [
        ("author", None)
    ]


async def test_putting_up_triggers_again_does_nothing(library: Store) -> None:
    assert await install(library.url, TABLES) == []
    assert await faults(library.url, TABLES) == {}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_rows_are_told_one_by_one_up_to_a_number(library: Store) -> None:
    changes = changes_of(library, TABLES)
    series = "INSERT INTO author (id, name) SELECT n, 'ann' FROM generate_series({}, {}) AS n"
    told = {
        series.format(1, 64): 64,
        series.format(101, 165): None,
        "UPDATE author SET name = 'bob' WHERE id <= 32": 64,
        "UPDATE author SET name = 'cat' WHERE id <= 33": None,
        "DELETE FROM author WHERE id <= 64": 64,
        "DELETE FROM author": None,
    }
    for statement, images in told.items():
        before = await changes.look(None)
        await _run(library.url, _statements([statement]))
        (change,) = (await changes.look(before.snapshot)).changes
        assert (None if change.images is None else len(change.images)) == images, statement


async def test_a_table_without_keys_is_told(library: Store) -> None:
    heap = Table("heap", MetaData(), Column("note", Text))
    await _run(library.url, _statements(["CREATE TABLE heap (note TEXT)"]))
    await install(library.url, [heap])
    changes = changes_of(library, [heap])
    for statement in ("INSERT INTO heap VALUES ('a'), ('b')", "UPDATE heap SET note = 'c'", "DELETE FROM heap"):
        before = await changes.look(None)
        await _run(library.url, _statements([statement]))
        assert {c.table for c in (await changes.look(before.snapshot)).changes} == {"heap"}, statement


@pytest.mark.parametrize("name", ["50% of it", "$body$", "it's", "changed", "toque_old"])
async def test_names_that_the_triggers_use_themselves_are_told_apart(library: Store, name: str) -> None:
    words = ("found", "told", "changed", "kept", "rows", "gone", "toque_old", "toque_new", "slot", "50%")
    odd = Table(name, MetaData(), *(Column(word, Integer, primary_key=True) for word in words))
    await _run(library.url, odd.create)
    assert await install(library.url, [odd]) == [name]
    assert await faults(library.url, [odd]) == {}
    changes = changes_of(library, [odd])
    before = await changes.look(None)
    await _run(library.url, lambda connection: connection.execute(insert(odd), [dict.fromkeys(words, 7)]))

    (change,) = (await changes.look(before.snapshot)).changes
    assert (change.table, change.images) == (name, (dict.fromkeys(words, 7),))


async def test_a_missing_trigger_is_noticed_and_put_up_again(library: Store) -> None:
    drop = {
        "sqlite": "DROP TRIGGER toque_change_update_book",
        "postgresql": "DROP TRIGGER toque_change_update ON book",
    }
    await _run(library.url, _statements([drop[library.dialect_name]]))

    assert list(await faults(library.url, TABLES)) == ["book"]
    assert await install(library.url, TABLES) == ["book"]
    assert await faults(library.url, TABLES) == {}


async def test_other_keys_have_other_triggers(library: Store) -> None:
    other = MetaData()
    Table("author", other, Column("id", Integer, primary_key=True))
    longer = Table("book", other, *(Column(c.name, c.type, primary_key=c.primary_key, index=True) for c in book.c))

    assert list(await faults(library.url, [longer])) == ["book"]
    assert await install(library.url, [longer]) == ["book"]
    assert await faults(library.url, [longer]) == {}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_disabled_trigger_is_noticed(library: Store) -> None:
    await _run(library.url, _statements(["ALTER TABLE book DISABLE TRIGGER toque_change_update"]))

    assert list(await faults(library.url, TABLES)) == ["book"]


async def test_a_view_is_not_captured(library: Store) -> None:
    await _run(library.url, _statements(["CREATE VIEW famous AS SELECT id, name FROM author"]))
    view = Table("famous", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))

    assert await install(library.url, [view]) == []
    assert "is no table" in (await faults(library.url, [view]))["famous"][0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_another_equality_in_the_database_is_noticed(library: Store) -> None:
    # `char(n)` takes two texts for equal that differ in blanks at their ends.
    await _run(library.url, _statements(["ALTER TABLE author ALTER COLUMN name TYPE char(40)"]))

    assert "name" in (await faults(library.url, TABLES))["author"][0]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_another_equality_in_the_file_is_noticed(library: Store) -> None:
    await _run(library.url, _statements(["CREATE TABLE loose (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)"]))
    table = Table("loose", MetaData(), Column("id", Integer, primary_key=True), Column("name", String, index=True))
    await install(library.url, [table])

    assert "collation" in (await faults(library.url, [table]))["loose"][0]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("declared", "is_equal"),
    [("VARCHAR(20)", True), ("", True), ("STRING", False), ("NUMERIC", False), ("INTEGER", False)],
)
async def test_a_column_that_takes_texts_for_numbers_is_noticed(library: Store, declared: str, is_equal: bool) -> None:
    await _run(library.url, _statements([f"CREATE TABLE loose (id INTEGER PRIMARY KEY, name {declared})"]))
    table = Table("loose", MetaData(), Column("id", Integer, primary_key=True), Column("name", String, index=True))
    await install(library.url, [table])

    assert (await faults(library.url, [table]) == {}) is is_equal


def _letters() -> Table:
    """Unique by what is no column, in some of its rows, and by another equality than its column's."""
    letters = Table(
        "letter",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("name", String),
        Column("place", Integer),
        Column("word", String),
    )
    Index("by_name", func.lower(letters.c.name), letters.c.word, unique=True)
    Index("by_place", letters.c.place, unique=True, sqlite_where=letters.c.place > 0)
    Index("by_word", letters.c.word.collate("NOCASE"), unique=True)
    return letters


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO letter VALUES (9, 'ANN', NULL, 'x')",
        "REPLACE INTO letter VALUES (9, NULL, 1, NULL)",
        "REPLACE INTO letter VALUES (9, NULL, NULL, 'X')",
        "UPDATE OR REPLACE letter SET name = 'Ann', word = 'X' WHERE id = 2",
    ],
)
async def test_rows_that_replace_removes_by_any_index_are_told(library: Store, statement: str) -> None:
    letters = _letters()
    await create_missing(library.url, letters.metadata)
    await install(library.url, [letters])
    await _run(library.url, _statements(["INSERT INTO letter VALUES (1, 'ann', 1, 'x'), (2, 'bob', 2, 'y')"]))
    changes = changes_of(library, [letters])
    before = await changes.look(None)
    await _run(library.url, _statements([statement]))
    told = [image["id"] for change in (await changes.look(before.snapshot)).changes for image in change.images or ()]

    assert await faults(library.url, [letters]) == {}
    assert 1 in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("default", ["it's", None])
@pytest.mark.parametrize(
    "statement",
    ["REPLACE INTO jar (id, label) VALUES (9, NULL)", "UPDATE OR REPLACE jar SET label = NULL WHERE id = 2"],
)
async def test_rows_that_replace_removes_by_a_default_are_told(
    library: Store, statement: str, default: str | None
) -> None:
    """For a NULL that a column does not take, REPLACE writes the column's default (lang_conflict.html), whether or not
    the model knows of that."""
    label = Column("label", String, unique=True, nullable=False, server_default=default)
    jars = Table("jar", MetaData(), Column("id", Integer, primary_key=True), label)
    made = "CREATE TABLE jar (id INTEGER PRIMARY KEY, label VARCHAR NOT NULL DEFAULT 'it''s' UNIQUE)"
    await _run(library.url, _statements([made]))
    await install(library.url, [jars])
    await _run(library.url, _statements(["INSERT INTO jar VALUES (1, 'it''s'), (2, 'y')"]))
    changes = changes_of(library, [jars])
    before = await changes.look(None)
    await _run(library.url, _statements([statement]))
    told = [image["id"] for change in (await changes.look(before.snapshot)).changes for image in change.images or ()]

    assert await faults(library.url, [jars]) == {}
    assert 1 in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_looking_for_what_replace_removes_takes_an_index(library: Store) -> None:
    letters = _letters()
    await create_missing(library.url, letters.metadata)
    await install(library.url, [letters])

    def plan(connection: Connection) -> list[str]:
        sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'toque_change_replace_letter'")
        asked = sql.scalar_one().partition(" FROM ")[2].removesuffix("; END")
        for column in letters.c:
            asked = asked.replace(f'NEW."{column.name}"', "'1'").replace(f"NEW.{column.name}", "'1'")
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT 1 FROM {asked}")]

    steps = await asyncio.to_thread(with_connection, library.url, plan)
    assert not [step for step in steps if step.startswith("SCAN")], steps


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("on", ["shelf", "note", "lower(note)", "code COLLATE NOCASE"])
async def test_what_makes_rows_unique_by_hand_is_noticed(library: Store, on: str) -> None:
    await _run(library.url, _statements([f"CREATE UNIQUE INDEX by_hand ON book ({on})"]))

    assert "by_hand" in (await faults(library.url, TABLES))["book"][0]


async def _visits(library: Store, *more: str) -> Table:
    """A table in parts, a day each."""
    parts = [f"CREATE TABLE visit_{day} PARTITION OF visit FOR VALUES IN ({day})" for day in (1, 2)]
    whole = "CREATE TABLE visit (id integer, day integer, PRIMARY KEY (id, day)) PARTITION BY LIST (day)"
    await _run(library.url, _statements([whole, *parts, *more]))
    id, day = (Column(name, Integer, primary_key=True) for name in ("id", "day"))
    return Table("visit", MetaData(), id, day)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_partitions_are_told_however_they_are_written(library: Store) -> None:
    visit = await _visits(library)
    await install(library.url, [visit])
    changes = changes_of(library, [visit])
    seen = await changes.look(None)
    told = {
        "INSERT INTO visit VALUES (1, 1), (2, 2)": [(1, 1), (2, 2)],
        "UPDATE visit SET day = 2 WHERE id = 1": [(1, 1), (1, 2)],
        "INSERT INTO visit_1 VALUES (3, 1)": [(3, 1)],
        "DELETE FROM visit_2 WHERE id = 2": [(2, 2)],
    }
    for statement, images in told.items():
        await _run(library.url, _statements([statement]))
        seen = await changes.look(seen.snapshot)
        found = {(image["id"], image["day"]) for change in seen.changes for image in change.images or ()}
        assert {change.table for change in seen.changes} == {"visit"}, statement
        assert found == set(images), statement

    await _run(library.url, _statements(["CREATE TABLE visit_3 PARTITION OF visit FOR VALUES IN (3)"]))
    assert "visit_3" in (await faults(library.url, [visit]))["visit"][0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_row_that_is_to_move_and_vanishes_is_told(library: Store) -> None:
    """The partition that it would move to has a trigger that says no: the statement has old rows, and no new ones."""
    visit = await _visits(
        library,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON visit_2 FOR EACH ROW EXECUTE FUNCTION no()",
        "INSERT INTO visit SELECT n, 1 FROM generate_series(1, 9) AS n",
    )
    await install(library.url, [visit])
    changes = changes_of(library, [visit])
    for statement, gone in {
        "UPDATE visit SET day = 2 WHERE id = 1": {1},
        "UPDATE visit SET day = 2 WHERE id IN (2, 3)": {2, 3},
        "UPDATE visit SET day = CASE id WHEN 4 THEN 2 ELSE 1 END WHERE id IN (4, 5)": {4, 5},
    }.items():
        before = await changes.look(None)
        await _run(library.url, _statements([statement]))
        seen = await changes.look(before.snapshot)
        images = [image for change in seen.changes for image in change.images or ()]
        assert {image["id"] for image in images if image["day"] == 1} == gone, statement


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_copy_is_told(library: Store) -> None:
    import asyncpg

    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    connection = await asyncpg.connect(library.url)
    await connection.copy_records_to_table("author", records=[(1, "ann"), (2, "bob")], columns=["id", "name"])
    await connection.close()

    (change,) = (await changes.look(before.snapshot)).changes
    assert [image["name"] for image in change.images or ()] == ["ann", "bob"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_change_of_the_schema_tells_that_nothing_is_known(library: Store) -> None:
    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    await _run(library.url, _statements(["ALTER TABLE book ADD COLUMN size integer DEFAULT 3"]))

    assert ("*", None) in [(found.table, found.images) for found in (await changes.look(before.snapshot)).changes]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_transaction_that_commits_last_is_told_though_it_began_first(library: Store) -> None:
    import asyncpg

    changes = changes_of(library, TABLES)
    slow, fast = await asyncpg.connect(library.url), await asyncpg.connect(library.url)
    seen = await changes.look(None)
    under_way = slow.transaction()
    await under_way.start()
    await slow.execute("INSERT INTO author (id, name) VALUES (1, 'slow')")
    await fast.execute("INSERT INTO author (id, name) VALUES (2, 'fast')")

    first = await changes.look(seen.snapshot)
    await under_way.commit()
    second = await changes.look(first.snapshot)
    third = await changes.look(second.snapshot)
    await slow.close()
    await fast.close()

    names = [[i["name"] for c in s.changes for i in c.images or ()] for s in (first, second, third)]
    assert names == [["fast"], ["slow"], []]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_role_without_rights_on_the_log_is_told_too(library: Store) -> None:
    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    texts = ["CREATE ROLE clerk", "GRANT ALL ON author TO clerk", "SET LOCAL ROLE clerk"]
    try:
        await _run(library.url, _statements([*texts, "INSERT INTO author (id, name) VALUES (1, 'ann')"]))
        assert [c.table for c in (await changes.look(before.snapshot)).changes] == ["author"]
    finally:
        await _run(library.url, _statements(["DROP OWNED BY clerk", "DROP ROLE clerk"]))


async def test_who_was_away_for_too_long_is_told_so(library: Store) -> None:
    changes = changes_of(library, TABLES)
    before = await changes.look(None)
    await _run(library.url, _statements(ROWS))
    forget = {
        "sqlite": ["DELETE FROM toque_change WHERE pos < (SELECT max(pos) FROM toque_change)"],
        "postgresql": ["UPDATE toque.change_state SET lost = (SELECT xid FROM toque.change LIMIT 1)"],
    }
    await _run(library.url, _statements(forget[library.dialect_name]))

    assert (await changes.look(before.snapshot)).is_gap
    now = await changes.look(None)
    assert not (await changes.look(now.snapshot)).is_gap


async def test_a_new_file_or_generation_is_another_log(library: Store) -> None:
    changes = changes_of(library, TABLES)
    first = await changes.look(None)
    forget = {
        "sqlite": ["UPDATE toque_change_state SET generation = 'another'"],
        "postgresql": ["TRUNCATE toque.change, toque.change_state"],
    }
    await _run(library.url, _statements(forget[library.dialect_name]))

    assert (await changes.look(first.snapshot)).epoch != first.epoch


vault = MetaData(naming_convention=NAMES)
secret = Table("secret", vault, Column("id", Integer, primary_key=True), Column("branch", String(20)))
declare(secret, tenant="branch", sensitive=True)


async def test_sensitive_tables_are_told_or_said_not_to_be(database_url: str) -> None:
    await create_missing(database_url, vault)
    await install(database_url, [secret])
    store = open_store(database_url, guard=guard_of(vault, Sql(), []))
    store.enforce(vault)
    await store.start()
    try:
        changes = changes_of(store, [secret])
        before = await changes.look(None)
        caller = Context("write", monotonic() + 60, principal=Principal(subject="ann", tenant="north"))
        await store.command(lambda db: db.execute(insert(secret).values(id=1)), caller)
        told = [change.images for change in (await changes.look(before.snapshot)).changes]
    finally:
        await store.stop()

    why = await faults(database_url, [secret])
    if store.dialect_name == "sqlite":
        assert "wall" in why["secret"][0]
        return
    assert (why, told) == ({}, [({"id": 1, "branch": "north"},)])
