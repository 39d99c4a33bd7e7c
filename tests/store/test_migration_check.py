"""`toque db check`: squawk's rules one by one, our own, and what is generated breaks none of them."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    Enum,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from toque.store.migrations import Refused, Steps, checking, revision, rules, squawk, upgrade
from toque.store.migrations.checking import Finding, findings, of_step
from toque.store.migrations.questions import Questions
from toque.store.migrations.session import in_session
from toque.testing.postgres import PrivatePostgres

SAMPLES = {
    "require-concurrent-index-creation": "CREATE INDEX i ON t (a);",
    "require-concurrent-index-deletion": "DROP INDEX i;",
    "constraint-missing-not-valid": "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);",
    "adding-field-with-default": "ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid();",
    "adding-foreign-key-constraint": "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (id);",
    "changing-column-type": "ALTER TABLE t ALTER COLUMN a TYPE bigint;",
    "adding-not-nullable-field": "ALTER TABLE t ALTER COLUMN a SET NOT NULL;",
    "adding-serial-primary-key-field": "ALTER TABLE t ADD COLUMN id serial PRIMARY KEY;",
    "renaming-column": "ALTER TABLE t RENAME COLUMN a TO b;",
    "renaming-table": "ALTER TABLE t RENAME TO u;",
    "disallowed-unique-constraint": "ALTER TABLE t ADD CONSTRAINT q UNIQUE (a);",
    "ban-drop-database": "DROP DATABASE d;",
    "prefer-bigint-over-int": "CREATE TABLE n (a int);",
    "prefer-bigint-over-smallint": "CREATE TABLE n (a smallint);",
    "prefer-identity": "CREATE TABLE n (a bigserial);",
    "prefer-repack": "VACUUM FULL t;",
    "prefer-robust-stmts": "ALTER TABLE t ADD COLUMN a bigint;",
    "prefer-text-field": "CREATE TABLE n (a varchar(10));",
    "prefer-timestamp-tz": "CREATE TABLE n (a timestamp);",
    "ban-char-field": "CREATE TABLE n (a char(10));",
    "ban-drop-column": "ALTER TABLE t DROP COLUMN a;",
    "ban-drop-table": "DROP TABLE t;",
    "ban-drop-not-null": "ALTER TABLE t ALTER COLUMN a DROP NOT NULL;",
    "transaction-nesting": "BEGIN; BEGIN; COMMIT;",
    "adding-required-field": "ALTER TABLE t ADD COLUMN a bigint NOT NULL;",
    "ban-concurrent-index-creation-in-transaction": "BEGIN; CREATE INDEX CONCURRENTLY i ON t (a); COMMIT;",
    "ban-create-domain-with-constraint": "CREATE DOMAIN d AS text CHECK (value <> '');",
    "ban-alter-domain-with-add-constraint": "ALTER DOMAIN d ADD CONSTRAINT c CHECK (value <> '');",
    "ban-truncate-cascade": "TRUNCATE t CASCADE;",
    "ban-uncommitted-transaction": "BEGIN; ALTER TABLE t ADD COLUMN a bigint;",
    "require-enum-value-ordering": "ALTER TYPE e ADD VALUE 'x';",
    "require-table-schema": "CREATE TABLE n (a bigint);",
    "identifier-too-long": f"CREATE TABLE {'n' * 64} (a bigint);",
    "require-concurrent-partition-detach": "ALTER TABLE t DETACH PARTITION p;",
    "require-concurrent-reindex": "REINDEX TABLE t;",
    "require-lock-timeout": "ALTER TABLE t ADD COLUMN a bigint;",
    "require-statement-timeout": "ALTER TABLE t ADD COLUMN a bigint;",
    "ban-drop-view": "DROP VIEW v;",
    "ban-drop-function": "DROP FUNCTION f();",
    "ban-drop-type": "DROP TYPE e;",
    "ban-drop-schema": "DROP SCHEMA s;",
    "ban-drop-sequence": "DROP SEQUENCE q;",
    "ban-drop-domain": "DROP DOMAIN d;",
    "ban-drop-constraint": "ALTER TABLE t DROP CONSTRAINT c;",
    "ban-drop-generated-expression": "ALTER TABLE t ALTER COLUMN a DROP EXPRESSION;",
    "renaming-object": "ALTER SEQUENCE q RENAME TO r;",
    "ban-set-schema": "ALTER TABLE t SET SCHEMA s;",
    "ban-alter-identity": "ALTER TABLE t ALTER COLUMN a DROP IDENTITY;",
    "ban-drop-extension": "DROP EXTENSION citext;",
    "ban-alter-generated-expression": "ALTER TABLE t ALTER COLUMN a SET EXPRESSION AS (b * 2);",
    "ban-drop-index": "DROP INDEX CONCURRENTLY i;",
    "ban-set-default": "ALTER TABLE t ALTER COLUMN a SET DEFAULT 1;",
    "ban-disable-trigger": "ALTER TABLE t DISABLE TRIGGER g;",
    "ban-replica-identity": "ALTER TABLE t REPLICA IDENTITY NOTHING;",
    "ban-drop-policy": "DROP POLICY p ON t;",
    "ban-revoke": "REVOKE SELECT ON t FROM r;",
    "ban-replace-view-function": "CREATE OR REPLACE VIEW v AS SELECT 1 AS a;",
    "ban-alter-policy-condition": "ALTER POLICY p ON t USING (false);",
    "ban-alter-policy-roles": "ALTER POLICY p ON t TO r;",
    "ban-create-policy": "CREATE POLICY p ON t USING (false);",
    "ban-alter-function-options": "ALTER FUNCTION f() SECURITY DEFINER;",
    "ban-alter-view-options": "ALTER VIEW v SET (security_barrier);",
    "ban-alter-role-options": "ALTER ROLE r NOLOGIN;",
    "ban-alter-database-options": "ALTER DATABASE d ALLOW_CONNECTIONS false;",
    "ban-alter-row-level-security": "ALTER TABLE t ENABLE ROW LEVEL SECURITY;",
    "ban-new-write-restriction": "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;",
    "ban-add-enum-value": "ALTER TYPE e ADD VALUE 'x' AFTER 'y';",
    "ban-add-composite-attribute": "ALTER TYPE c ADD ATTRIBUTE a bigint;",
    "ban-add-column": "ALTER TABLE t ADD COLUMN a bigint;",
    "ban-detach-inheritance": "ALTER TABLE t NO INHERIT p;",
    "ban-alter-sequence-values": "ALTER SEQUENCE q RESTART;",
    "ban-alter-system-options": "ALTER SYSTEM SET work_mem = '1MB';",
    "ban-alter-extension": "ALTER EXTENSION citext UPDATE;",
    "ban-drop-default": "ALTER TABLE t ALTER COLUMN a DROP DEFAULT;",
    "ban-drop-trigger": "DROP TRIGGER g ON t;",
}
"""Every rule of squawk, and a statement that it is about."""

FILE = """
from alembic import op
import sqlalchemy as sa
revision = "1"
down_revision = None
phase = {phase!r}
is_transactional = False
{more}

def upgrade():
    {up}


def downgrade():
    {down}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


def told(
    folder: Path, up: str, down: str = "op.execute('SELECT 1')", phase: str = "expand", more: str = ""
) -> list[Finding]:
    """What is said of a hand-written file."""
    Steps(folder)
    source = FILE.format(phase=phase, up=up, down=down, more=more)
    (folder / "versions" / "1_one.py").write_text(source)
    return of_step(MetaData(), Steps(folder).all[0])


def found(folder: Path, up: str, *more: Any, **options: Any) -> set[str]:
    """The rules that a hand-written file breaks."""
    return {finding.rule for finding in told(folder, up, *more, **options)}


def as_op(sql: str) -> str:
    return "; ".join(f"op.execute({part.strip()!r})" for part in sql.split(";") if part.strip())


@pytest.mark.parametrize("rule", sorted(SAMPLES.keys() - squawk.LEFT_OUT.keys()))
def test_every_danger_that_squawk_knows_is_caught_in_a_written_revision(folder: Path, rule: str) -> None:
    if rule in ("require-lock-timeout", "require-statement-timeout"):
        # The runner sets both before each step, so that a file cannot be without.
        assert rule in {said.rule_name for said in squawk.squawk(SAMPLES[rule], "expand")}
        return

    assert rule in found(folder, as_op(SAMPLES[rule]))


@pytest.mark.parametrize("rule", sorted(squawk.LEFT_OUT))
def test_what_is_left_out_has_a_reason_and_exists(rule: str) -> None:
    assert squawk.LEFT_OUT[rule]
    assert rule in SAMPLES


def test_the_lists_name_rules_that_squawk_has() -> None:
    named = {*squawk.LEFT_OUT, *squawk.UNTIL_CONTRACT, *squawk.OPT_IN}

    assert named <= SAMPLES.keys()


@pytest.mark.parametrize("rule", sorted(squawk.UNTIL_CONTRACT))
def test_what_an_older_release_would_notice_is_for_the_contract_phase(folder: Path, rule: str) -> None:
    assert rule not in found(folder, as_op(SAMPLES[rule]), phase="contract")


@pytest.mark.parametrize("rule", ["require-concurrent-index-creation", "changing-column-type", "adding-required-field"])
def test_a_long_lock_is_dangerous_in_every_phase(folder: Path, rule: str) -> None:
    assert rule in found(folder, as_op(SAMPLES[rule]), phase="contract")


OWN = {
    "rename-as-drop-and-add": "op.add_column('t', sa.Column('b', sa.String())); op.drop_column('t', 'a')",
    "required-column-without-default": "op.add_column('t', sa.Column('b', sa.String(), nullable=False))",
    "enum-value-removed": "op.drop_enum('mood')",
    "sqlite-rebuilt-twice": "\n    ".join(
        ["with op.batch_alter_table('t') as batch_op:", "    batch_op.drop_column('a')"] * 2
    ),
    "sqlite-needs-batch": "op.alter_column('t', 'a', nullable=True)",
    "mixed-phases": "op.execute('UPDATE t SET a = 1')",
    "not-as-sql": "op.get_bind().execute(sa.text('SELECT 1')).scalar()",
}


@pytest.mark.parametrize("rule", sorted(OWN))
def test_our_own_rules_find_what_sql_does_not_show(folder: Path, rule: str) -> None:
    said = [finding for finding in told(folder, OWN[rule]) if finding.rule == rule]

    assert said
    assert all(finding.remedy and finding.problem and finding.line > 1 for finding in said)


def test_a_downgrade_says_what_it_does(folder: Path) -> None:
    made = "op.create_table('n', sa.Column('id', sa.BigInteger(), primary_key=True))"

    assert "downgrade-missing" in found(folder, made, "pass")
    assert "downgrade-missing" not in found(folder, made, "pass", more='irreversible = "it is gone"')
    assert "downgrade-hides-loss" in found(folder, made, "op.drop_table('n')")
    assert "downgrade-hides-loss" not in found(
        folder, made, "op.drop_table('n')", more='downgrade_loses = ("table n",)'
    )


def test_every_rule_of_our_own_is_tried_here() -> None:
    elsewhere = {"downgrade-missing", "downgrade-hides-loss", "models-differ", "allowed-without-reason"}

    assert {*OWN, *elsewhere} == rules.NAMES


def test_a_file_may_break_a_rule_with_a_reason(folder: Path) -> None:
    drop = as_op(SAMPLES["ban-drop-column"])

    assert "ban-drop-column" in found(folder, drop)
    assert found(folder, drop, more="# toque: allow ban-drop-column because nobody reads it") == set()
    assert found(folder, drop, more="# toque: allow ban-drop-column") == {"ban-drop-column", "allowed-without-reason"}
    assert "ban-drop-column" in found(folder, drop, more="# toque: allow ban-drop-table because nobody reads it")


def shop(*columns: Any, name: str = "orders") -> MetaData:
    metadata = MetaData()
    Table("person", metadata, Column("id", BigInteger, primary_key=True))
    Table(name, metadata, Column("id", BigInteger, primary_key=True), *columns)
    return metadata


def indexed() -> MetaData:
    metadata = shop(Column("note", String))
    Index("by_note", metadata.tables["orders"].c.note)
    return metadata


def mood(*values: str) -> MetaData:
    kind = Enum(*values, name="kind", native_enum=False, create_constraint=True, length=9)
    return shop(Column("mood", Enum(*values, name="mood")), Column("kind", kind))


def who(*key: Any) -> MetaData:
    return shop(Column("who", BigInteger, *key))


def pair(*kinds: str) -> MetaData:
    """Two tables, each with columns for some enums that are kept as text."""
    metadata = MetaData()
    for table in ("one", "other"):
        columns = (
            Column(kind, Enum("a", "b", name=f"{table}_{kind}", native_enum=False, create_constraint=True))
            for kind in kinds
        )
        Table(table, metadata, Column("id", BigInteger, primary_key=True), *columns)
    return metadata


CHANGES: dict[str, Any] = {
    "a table": lambda: (shop(), indexed(), {}),
    "a column": lambda: (shop(), shop(Column("note", String)), {}),
    "a required column": lambda: (shop(), shop(Column("n", Integer, nullable=False)), {"values": ["orders.n=0"]}),
    "a computed value": lambda: (shop(), shop(Column("n", BigInteger, nullable=False)), {"values": ["orders.n=id"]}),
    "a default": lambda: (shop(Column("n", Integer)), shop(Column("n", Integer, server_default="1")), {}),
    "a default gone": lambda: (shop(Column("n", Integer, server_default="1")), shop(Column("n", Integer)), {}),
    "no null": lambda: (
        shop(Column("n", Integer)),
        shop(Column("n", Integer, nullable=False)),
        {"values": ["orders.n=0"]},
    ),
    "a type": lambda: (shop(Column("n", Integer)), shop(Column("n", BigInteger)), {}),
    "a type of a required column": lambda: (
        shop(Column("n", Integer, nullable=False)),
        shop(Column("n", BigInteger, nullable=False)),
        {},
    ),
    "a type, and other columns before and after it": lambda: (
        shop(Column("n", Integer), Column("gone", String, nullable=False)),
        shop(Column("n", BigInteger), Column("more", String)),
        {"nothing_renamed": True},
    ),
    "a column gone": lambda: (shop(Column("note", String, nullable=False)), shop(), {}),
    "a table gone": lambda: (shop(), shop(name="others"), {"nothing_renamed": True}),
    "a rename": lambda: (shop(Column("a", String)), shop(Column("b", String)), {"renames": ["orders.a=b"]}),
    "a table renamed": lambda: (shop(), shop(name="others"), {"renames": ["orders=others"]}),
    "a computed default": lambda: (
        shop(),
        shop(Column("n", Float, nullable=False, server_default=text("(random())"))),
        {},
    ),
    "a check gone": lambda: (
        shop(Column("n", Integer), CheckConstraint("n > 0", name="some")),
        shop(Column("n", Integer)),
        {},
    ),
    "a reference gone": lambda: (who(ForeignKey("person.id", name="who")), who(), {}),
    "a larger text": lambda: (shop(Column("s", String(50))), shop(Column("s", String(100))), {}),
    "a larger number": lambda: (shop(Column("n", Numeric(8, 2))), shop(Column("n", Numeric(10, 2))), {}),
    "a text without an end": lambda: (shop(Column("s", String(50))), shop(Column("s", Text)), {}),
    "an index": lambda: (shop(Column("note", String)), indexed(), {}),
    "an index gone": lambda: (indexed(), shop(Column("note", String)), {}),
    "a new reference": lambda: (shop(), who(ForeignKey("person.id", name="who")), {}),
    "a reference": lambda: (who(), who(ForeignKey("person.id", name="who")), {}),
    "a check": lambda: (
        shop(Column("n", Integer)),
        shop(Column("n", Integer), CheckConstraint("n > 0", name="some")),
        {},
    ),
    "a new unique column": lambda: (shop(), shop(Column("k", String), UniqueConstraint("k", name="one_k")), {}),
    "an enum value": lambda: (mood("a", "b"), mood("a", "b", "c"), {}),
    "a value of text gone": lambda: (
        shop(Column("kind", Enum("a", "it's", name="kind", native_enum=False, create_constraint=True, length=9))),
        shop(Column("kind", Enum("a", name="kind", native_enum=False, create_constraint=True, length=9))),
        {"replacements": ["kind.it's=a"]},
    ),
    "two tables with a new value of text": lambda: (pair(), pair("kind"), {}),
    "a generated column, and what it is made of, gone": lambda: (
        shop(Column("n", Integer), *(Column(f"n{i}", Integer, Computed(f"n * {i}")) for i in range(5))),
        shop(),
        {},
    ),
    "an enum value gone": lambda: (
        shop(Column("mood", Enum("a", "b", name="mood"))),
        shop(Column("mood", Enum("a", name="mood"))),
        {"replacements": ["mood.b=a"]},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_generated_is_not_dangerous(database_url: str, folder: Path, change: str) -> None:
    before, after, answers = CHANGES[change]()
    await revision(database_url, before, folder, "first")
    await upgrade(database_url, before, folder)
    assert await revision(database_url, after, folder, "then", Questions(**answers))

    assert await findings(database_url, after, folder) == []


DECLARED = {
    "a unique index": (
        lambda: (shop(Column("note", String)), shop(Column("note", String, unique=True, index=True))),
        "ban-new-write-restriction",
    ),
    "an index that becomes unique": (
        lambda: (shop(Column("note", String, index=True)), shop(Column("note", String, unique=True, index=True))),
        "ban-new-write-restriction",
    ),
    "null allowed": (
        lambda: (shop(Column("n", Integer, nullable=False)), shop(Column("n", Integer))),
        "ban-drop-not-null",
    ),
    "a computed column": (
        lambda: (shop(Column("n", Integer)), shop(Column("n", Integer), Column("c", Integer, Computed("n * 2")))),
        "adding-field-with-default",
    ),
}
"""What has no safe way, so that whoever wants it gives a reason."""


@pytest.mark.parametrize("change", DECLARED)
async def test_what_is_dangerous_however_it_is_written_is_found(
    postgres: PrivatePostgres, folder: Path, change: str
) -> None:
    make, rule = DECLARED[change]
    before, after = make()
    url = postgres.create_database()
    await revision(url, before, folder, "first")
    await upgrade(url, before, folder)
    await revision(url, after, folder, "then")

    assert rule in {finding.rule for finding in await findings(url, after, folder)}


FROM_MODELS = {
    "require-concurrent-index-creation": "an index",
    "require-concurrent-index-deletion": "an index gone",
    "constraint-missing-not-valid": "a reference",
    "adding-field-with-default": "a computed default",
    "adding-foreign-key-constraint": "a reference",
    "changing-column-type": "a type",
    "adding-not-nullable-field": "no null",
    "adding-required-field": "a required column",
    "disallowed-unique-constraint": "a new unique column",
    "ban-new-write-restriction": "a new reference",
    "ban-drop-column": "a rename",
    "ban-drop-table": "a table renamed",
    "ban-drop-default": "a default gone",
    "ban-drop-index": "an index gone",
    "ban-drop-constraint": "a reference gone",
}
"""Rules that the revision breaks which Alembic alone would write for a change, and ours does not."""

ELSEWHERE = {
    "ban-drop-not-null": "`DECLARED`",
    "ban-alter-generated-expression": "`DECLARED`; computed otherwise, it is refused",
    "ban-alter-identity": "refused: test_an_identity_is_not_changed_in_silence",
    "identifier-too-long": "SQLAlchemy refuses the name; what it names itself it shortens",
    "adding-serial-primary-key-field": "a key for a table that has rows is asked for: --value",
    "renaming-column": "written on purpose, in the phase `switch`, where a rename was answered: `CHANGES`, 'a rename'",
    "renaming-table": "the same, 'a table renamed'",
    "renaming-object": "the same, for what is named after them",
    "require-enum-value-ordering": "every value is written with AFTER or BEFORE: `CHANGES`, 'an enum value'",
    "ban-drop-type": "in the phase `contract`: `CHANGES`, 'an enum value gone'",
    "ban-concurrent-index-creation-in-transaction": "indexes stand in a file without a transaction: 'an index'",
    **dict.fromkeys(
        (
            "ban-create-policy",
            "ban-drop-policy",
            "ban-alter-row-level-security",
            "ban-disable-trigger",
            "ban-drop-function",
        ),
        "sensitive tables, written with the reason: tests/walls/test_moving.py",
    ),
    **dict.fromkeys(("require-lock-timeout", "require-statement-timeout"), "set by the runner before each step"),
    **dict.fromkeys(("transaction-nesting", "ban-uncommitted-transaction"), "the runner begins and commits"),
}
"""Rules that a change of models meets otherwise."""

BY_HAND = {
    **dict.fromkeys(
        (
            "ban-drop-database",
            "ban-alter-database-options",
            "ban-alter-role-options",
            "ban-alter-system-options",
            "ban-revoke",
            "prefer-repack",
            "require-concurrent-reindex",
            "ban-truncate-cascade",
        ),
        "an operator's work on a server, its roles or a table's pages",
    ),
    **dict.fromkeys(
        (
            "ban-drop-view",
            "ban-replace-view-function",
            "ban-alter-view-options",
            "ban-alter-function-options",
            "ban-drop-trigger",
            "ban-drop-sequence",
            "ban-alter-sequence-values",
            "ban-drop-extension",
            "ban-alter-extension",
            "ban-create-domain-with-constraint",
            "ban-alter-domain-with-add-constraint",
            "ban-drop-domain",
            "ban-replica-identity",
            "ban-detach-inheritance",
            "require-concurrent-partition-detach",
        ),
        "views, functions, triggers, sequences, extensions, domains and partitions are not compared",
    ),
    **dict.fromkeys(("ban-drop-schema", "ban-set-schema"), "a schema that no model names any more is left alone"),
    **dict.fromkeys(
        ("ban-alter-policy-condition", "ban-alter-policy-roles"), "a policy is dropped and created, not altered"
    ),
    "ban-drop-generated-expression": "refused: give the column a successor",
}
"""Rules that no revision breaks which was written from models, and why; one written by hand is checked all the same."""


def test_each_rule_of_squawk_is_met_from_models_or_cannot_be() -> None:
    groups = (FROM_MODELS, ELSEWHERE, BY_HAND, squawk.LEFT_OUT)

    assert sorted(SAMPLES) == sorted(rule for group in groups for rule in group)
    assert {*FROM_MODELS.values()} <= CHANGES.keys()


@pytest.mark.parametrize("rule", FROM_MODELS)
async def test_a_plain_revision_would_break_the_rule(postgres: PrivatePostgres, folder: Path, rule: str) -> None:
    """Else `test_what_is_generated_is_not_dangerous` would show nothing of it."""
    before, after, _ = CHANGES[FROM_MODELS[rule]]()
    url = postgres.create_database()
    await revision(url, before, folder, "first")
    await upgrade(url, before, folder)

    sql = await in_session(url, lambda connection: plain(connection, after))

    assert rule in {said.rule_name for said in squawk.squawk(sql, "expand")}


def plain(connection: Connection, models: MetaData) -> str:
    """What Alembic itself would write."""
    found = produce_migrations(MigrationContext.configure(connection, opts={"compare_server_default": True}), models)
    out = StringIO()
    written = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})

    def write(step: Any) -> None:
        for inner in step.ops:
            if hasattr(inner, "ops"):
                write(inner)
            else:
                Operations(written).invoke(inner)

    write(found.upgrade_ops)
    return out.getvalue()


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_an_identity_is_not_changed_in_silence(
    postgres: PrivatePostgres, folder: Path, is_given_up: bool
) -> None:
    kinds = [shop(Column("n", BigInteger, nullable=False)), shop(Column("n", BigInteger, Identity()))]
    before, after = reversed(kinds) if is_given_up else kinds
    url = postgres.create_database()
    await revision(url, before, folder, "first")
    await upgrade(url, before, folder)

    with pytest.raises(Refused, match=r"orders\.n is an identity otherwise"):
        await revision(url, after, folder, "then")


async def test_a_type_in_an_index_is_changed_in_its_place_and_found(database_url: str, folder: Path) -> None:
    def keyed(kind: Any) -> MetaData:
        return shop(Column("n", kind), UniqueConstraint("n", name="one_n"))

    await revision(database_url, keyed(Integer), folder, "first")
    await upgrade(database_url, keyed(Integer), folder)
    await revision(database_url, keyed(BigInteger), folder, "then")

    told = await findings(database_url, keyed(BigInteger), folder)
    assert {finding.rule for finding in told} == {"changing-column-type"}


async def test_types_in_indexes_rebuild_a_table_once(database_url: str, folder: Path) -> None:
    """Between the two a column is replaced, which was in their way."""

    def typed(kind: Any) -> MetaData:
        return shop(Column("a", kind, index=True), Column("b", kind), Column("c", kind, index=True))

    await revision(database_url, typed(Integer), folder, "first")
    await upgrade(database_url, typed(Integer), folder)

    await revision(database_url, typed(BigInteger), folder, "larger")

    found = await findings(database_url, typed(BigInteger), folder)
    assert [finding.rule for finding in found] == ["changing-column-type"] * 2


@pytest.mark.parametrize(
    "condition",
    [
        lambda: CheckConstraint("n >= 0", name="positive"),
        lambda: Index("ix_many", "id", postgresql_where=text("n > 3"), sqlite_where=text("n > 3")),
        lambda: Index("ix_next", text("(n + 1)")),
    ],
)
async def test_a_type_in_a_condition_is_changed_in_its_place(
    database_url: str, folder: Path, condition: Callable[[], Any]
) -> None:
    """With a second column the condition goes along with the first, in silence."""
    after = shop(Column("n", BigInteger), condition())
    await revision(database_url, shop(Column("n", Integer), condition()), folder, "first")
    await revision(database_url, after, folder, "then")

    assert {finding.rule for finding in await findings(database_url, after, folder)} == {"changing-column-type"}


def when(condition: str | None) -> Index:
    where = {} if condition is None else {f"{kind}_where": text(condition) for kind in ("postgresql", "sqlite")}
    return Index("once", "n", unique=True, **where)


@pytest.mark.parametrize(("before", "after"), [("k > 1", "k > 2"), ("k > 1", None), (None, "k > 1")])
async def test_a_condition_is_not_changed_in_silence(
    database_url: str, folder: Path, before: str | None, after: str | None
) -> None:
    """Alembic does not compare it, so that what the models say is unique was not."""
    await revision(database_url, shop(Column("n", Integer), Column("k", Integer), when(before)), folder, "first")

    with pytest.raises(Refused, match="once of orders is otherwise than before"):
        await revision(database_url, shop(Column("n", Integer), Column("k", Integer), when(after)), folder, "then")


async def test_a_primary_key_is_not_changed_in_silence(database_url: str, folder: Path) -> None:
    await revision(database_url, shop(Column("n", Integer)), folder, "first")

    with pytest.raises(Refused, match=r"the primary key of orders is \(id, n\) and was \(id\)"):
        await revision(database_url, shop(Column("n", Integer, primary_key=True)), folder, "then")


async def test_when_a_unique_constraint_is_checked_is_not_changed_in_silence(
    postgres: PrivatePostgres, folder: Path
) -> None:
    url = postgres.create_database()
    await revision(url, shop(Column("n", Integer), UniqueConstraint("n", name="one")), folder, "first")
    later = UniqueConstraint("n", name="one", deferrable=True, initially="DEFERRED")

    with pytest.raises(Refused, match="one of orders is otherwise than before"):
        await revision(url, shop(Column("n", Integer), later), folder, "then")


@pytest.mark.parametrize("make", [Index, UniqueConstraint])
async def test_an_index_on_a_column_that_is_replaced_comes_afterwards(
    database_url: str, folder: Path, make: Any
) -> None:
    """It was built on the column that went."""
    name = "on_n"
    after = shop(Column("n", BigInteger), Index(name, "n") if make is Index else UniqueConstraint("n", name=name))
    await revision(database_url, shop(Column("n", Integer)), folder, "first")

    files = await revision(database_url, after, folder, "then")

    assert [file.stem.rpartition("_")[2] for file in files][-2:] == ["switch", "settle"]


async def test_unique_on_what_older_releases_write_needs_a_reason(database_url: str, folder: Path) -> None:
    await revision(database_url, shop(Column("k", String)), folder, "first")
    await upgrade(database_url, shop(Column("k", String)), folder)
    after = shop(Column("k", String), UniqueConstraint("k", name="one_k"))
    await revision(database_url, after, folder, "then")

    assert {finding.rule for finding in await findings(database_url, after, folder)} == {"ban-new-write-restriction"}


async def test_models_without_a_migration_are_found(database_url: str, folder: Path) -> None:
    await revision(database_url, shop(), folder, "first")
    await upgrade(database_url, shop(), folder)

    (finding,) = await findings(database_url, shop(Column("note", String)), folder)

    assert (finding.rule, "orders.note" in finding.problem) == ("models-differ", True)


async def test_only_what_waits_is_checked_unless_all_is_asked_for(database_url: str, folder: Path) -> None:
    await revision(database_url, shop(), folder, "first")
    file = Steps(folder).all[0].path
    file.write_text(file.read_text() + "\n# toque: allow ban-drop-table\n")
    await upgrade(database_url, shop(), folder)

    assert await findings(database_url, shop(), folder) == []
    told = await findings(database_url, shop(), folder, is_all=True)
    assert [finding.rule for finding in told] == ["allowed-without-reason"]


async def test_without_squawk_postgresql_is_not_called_harmless(
    database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await revision(database_url, shop(), folder, "first")
    monkeypatch.setattr(squawk, "_program", lambda: None)

    if database_url.startswith("sqlite"):
        assert await checking.findings(database_url, shop(), folder) == []
        return
    with pytest.raises(Refused, match=r"pip install 'toque\[migrations\]'"):
        await checking.findings(database_url, shop(), folder)
