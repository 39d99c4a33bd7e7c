"""The difference between what the migrations add up to and what the models say, split into files' worth of operations.

`CONTRIBUTORS` is where more may join: what no table, column or constraint says (row security, grants).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from alembic.autogenerate import produce_migrations
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateIndexOp, DropIndexOp
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Column, Connection, Enum, MetaData, Table, text
from sqlalchemy.sql.naming import conv

from toque.store.migrations import enforcing
from toque.store.migrations import operations as ops
from toque.store.migrations.definitions import KEY, redefined
from toque.store.migrations.facts import EnumKey, Facts, Key, TableFacts, enums_of, facts, is_ours, native_enum
from toque.store.migrations.questions import Questions
from toque.store.migrations.refused import Refused
from toque.store.migrations.renames import Rename, columns_renamed, names_to_follow, tables_renamed
from toque.store.migrations.running import options
from toque.store.migrations.session import is_sqlite
from toque.store.migrations.splitting import Splitting
from toque.store.migrations.sqlite_declared import Indexed
from toque.store.migrations.stages import Draft

__all__ = ["CONTRIBUTORS", "Contributor", "difference", "schemas_of"]

Contributor = Callable[[Connection, MetaData, dict[str, Draft]], None]
"""Looks at the scratch database, the models, and what was found so far: adds its operations, and their way back, to the
drafts by stage (`stages.STAGES`)."""

CONTRIBUTORS: list[Contributor] = [enforcing.contribute]


def schemas_of(models: MetaData) -> list[str | None]:
    """The schemas that the models use, and the default one."""
    return [None, *sorted({table.schema for table in models.sorted_tables if table.schema})]


def difference(models: MetaData, wanted: Facts, questions: Questions, connection: Connection) -> dict[str, Draft]:
    """What to do in each stage so that *connection*'s database, where all migrations were run, is like *wanted*.

    Raises: Refused with every question that is open.
    """
    schemas = schemas_of(models)
    with connection.begin() as transaction:
        renames = _rename(models, wanted, schemas, questions, connection)
        before = facts(connection, schemas)
        splitting = Splitting(models, before, connection.dialect, questions)
        for rename in renames:
            splitting.put("rename", rename.up, rename.down)
        for schema in schemas:
            if schema is not None and not any(key[0] == schema for key in before.tables):
                splitting.put("expand", ops.CreateSchema(schema))
        _split_enums(splitting, models, before, questions)
        for found in _found_by_alembic(models, before, wanted, schemas, connection):
            splitting.take(found)
        _split_facts(splitting, models, before, wanted)
        _drop_enums(splitting, models, before)
        for contribute in CONTRIBUTORS:
            contribute(connection, models, splitting.drafts)
        questions.close()
        transaction.rollback()
    return splitting.drafts


def _rename(
    models: MetaData, wanted: Facts, schemas: list[str | None], questions: Questions, connection: Connection
) -> list[Rename]:
    """Ask, and rename in the scratch database, so that what is compared afterwards has its new names."""
    operations = Operations(MigrationContext.configure(connection, opts=options(models)))
    renames: list[Rename] = []
    for look in (tables_renamed, columns_renamed):
        found = list(look(facts(connection, schemas), models, connection.dialect, questions))
        for rename in found:
            operations.invoke(rename.up)
        renames += found
    if renames:
        following = list(names_to_follow(facts(connection, schemas), wanted, renames))
        for rename in following:
            operations.invoke(rename.up)
        renames += following
    return renames


def _found_by_alembic(
    models: MetaData, before: Facts, wanted: Facts, schemas: list[str | None], connection: Connection
) -> Iterator[MigrateOperation]:
    def is_compared(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name in schemas
        return kind != "table" or is_ours(str(name))

    def is_reflected(_: Any, name: str | None, kind: str, *__: Any) -> bool:
        return kind != "index" or not is_sqlite(connection)

    context = MigrationContext.configure(
        connection,
        opts={
            **options(models),
            "include_schemas": len(schemas) > 1,
            "include_name": is_compared,
            "include_object": is_reflected,
            "compare_type": _compare_type(before, wanted),
        },
    )
    script = produce_migrations(context, models)
    assert script.upgrade_ops is not None
    yield from script.upgrade_ops.ops


def _compare_type(before: Facts, wanted: Facts) -> Callable[..., bool | None]:
    def differs(context: Any, there: Any, column: Column[Any], there_type: Any, model_type: Any) -> bool | None:
        named = native_enum(model_type)
        # SQLite has text for it, as long as the longest value; which values there are is compared by itself.
        if context.dialect.name == "sqlite" and named is not None:
            return (named.schema, str(named.name)) not in before.enums
        key: Key = (column.table.schema, column.table.name)
        old, new = before.tables[key].types[column.name], wanted.tables[key].types[column.name]
        # FLOAT(24) is what the model says, and REAL what is written down of it.
        return old != new and (_collation(old) != _collation(new) or None)

    return differs


def _split_enums(splitting: Splitting, models: MetaData, before: Facts, questions: Questions) -> None:
    wanted = enums_of(models)
    for key, values in wanted.items():
        if key not in before.enums:
            splitting.put("expand", ops.CreateEnum(key[1], values, key[0]), ops.DropEnum(key[1], key[0]))
        elif gone := [value for value in before.enums[key] if value not in values]:
            instead = {value: questions.replaced(f"{key[1]}.{value}", values) for value in gone}
            _replace_enum(splitting, models, key, values, instead)
        else:
            _grow_enum(splitting, key, values, before.enums[key])


def _drop_enums(splitting: Splitting, models: MetaData, before: Facts) -> None:
    """Last of all, when no column has the type any more."""
    for schema, name in sorted(before.enums.keys() - enums_of(models).keys(), key=str):
        made = ops.CreateEnum(name, before.enums[schema, name], schema)
        splitting.put("contract", ops.DropEnum(name, schema), made)


def _grow_enum(splitting: Splitting, key: EnumKey, values: list[str], there: list[str]) -> None:
    schema, name = key
    for place, value in enumerate(values):
        if value in there:
            continue
        # PostgreSQL has no way back, and needs none: a value that nobody writes harms nobody.
        if place:
            splitting.put("expand", ops.AddEnumValue(name, value, after=values[place - 1], schema=schema))
        else:
            splitting.put("expand", ops.AddEnumValue(name, value, before=there[0], schema=schema))


def _replace_enum(
    splitting: Splitting, models: MetaData, key: EnumKey, values: list[str], instead: dict[str, str]
) -> None:
    """PostgreSQL cannot take a value from a type: each column gets a second one of a second type."""
    schema, name = key
    successor = f"{name}__new"
    splitting.put("expand", ops.CreateEnum(successor, values, schema), ops.DropEnum(successor, schema))
    cases = " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in instead.items())
    quoted = f'"{schema}"."{successor}"' if schema else f'"{successor}"'
    using = f"CAST(CASE CAST({{value}} AS TEXT) {cases} ELSE CAST({{value}} AS TEXT) END AS {quoted})"
    for table in models.sorted_tables:
        for column in table.columns:
            named = native_enum(column.type)
            if named is None or (named.schema or models.schema, named.name) != key:
                continue
            if not isinstance(column.type, Enum):
                raise Refused(
                    f"{table.name}.{column.name} is an array of {name!r}, which lost a value: write it by hand."
                )
            for old, new in instead.items():
                splitting.put(
                    "backfill",
                    ops.Backfill(table.name, {column.name: f"'{new}'"}, f"{column.name} = '{old}'", table.schema),
                )
            next_type = Enum(*values, name=successor, schema=schema, create_type=False)
            splitting.change_type((table.schema, table.name), column, using, "contract", next_type)
    splitting.put("contract", ops.DropEnum(name, schema))
    splitting.put("contract", ops.RenameEnum(successor, name, schema))


def _split_facts(splitting: Splitting, models: MetaData, before: Facts, wanted: Facts) -> None:
    for table in models.sorted_tables:
        key: Key = (table.schema, table.name)
        _split_indexes(splitting, table, key, before, wanted)
        if key in before.tables:
            _refuse_redefined(splitting, table, before.tables[key], wanted.tables[key])
            _split_defaults(splitting, table, key, before, wanted)
            _split_checks(splitting, table, key, before, wanted)


def _refuse_redefined(splitting: Splitting, table: Table, before: TableFacts, wanted: TableFacts) -> None:
    for name, old, new in redefined(before.definitions, wanted.definitions):
        if name == KEY:
            raise Refused(
                f"the primary key of {table.name} is ({new}) and was ({old}): what refers to it nobody can tell from "
                "the models. Write this one by hand, in a file of phase switch."
            )
        if name not in splitting.taken:
            raise Refused(
                f"{name} of {table.name} is otherwise than before ({new.strip()}; it was: {old.strip()}): give the new "
                "one a name of its own, and it is built before the old one goes; or write this one by hand."
            )


def _split_defaults(splitting: Splitting, table: Table, key: Key, before: Facts, wanted: Facts) -> None:
    there, aimed = before.tables[key], wanted.tables[key]
    for column in table.columns:
        name = column.name
        if name not in there.types:
            continue
        if there.computed.get(name) != aimed.computed.get(name):
            raise Refused(
                f"{table.name}.{name} is computed otherwise than before, which rewrites the table: "
                "give the new expression a new column, and drop the old one."
            )
        if there.identities.get(name) != aimed.identities.get(name):
            raise Refused(
                f"{table.name}.{name} is an identity otherwise than before, and whether its numbers go on nobody can "
                "tell from the models: give it a new column, or write this one by hand, in a file of its phase: "
                f'op.execute("ALTER TABLE {table.name} ALTER COLUMN {name} ...").'
            )
        old, new = there.defaults.get(name), aimed.defaults.get(name)
        # A sequence keeps the name of the table as it was.
        is_sequence = "nextval(" in (old or "") and "nextval(" in (new or "")
        if old != new and not is_sequence and _is_same_type(there.types[name], aimed.types[name]):
            splitting.default_changed(key, column, old)


def _is_same_type(there: str, aimed: str) -> bool:
    """A default changes its form with its type, and is set when that is changed."""
    return re.split(r"\(| COLLATE ", there)[0] == re.split(r"\(| COLLATE ", aimed)[0]


def _collation(kind: str) -> str:
    return kind.partition(" COLLATE ")[2]


def _split_checks(splitting: Splitting, table: Table, key: Key, before: Facts, wanted: Facts) -> None:
    there, aimed = before.tables[key], wanted.tables[key]
    models = {
        _name_of(constraint): constraint for constraint in table.constraints if isinstance(constraint, CheckConstraint)
    }
    for name in sorted(there.checks.keys() - aimed.checks.keys()):
        splitting.check_dropped(key, name, there.checks[name])
    for name in sorted(aimed.checks):
        if there.checks.get(name) == aimed.checks[name]:
            continue
        if name not in models:
            raise Refused(
                f"a check of {table.name} ({aimed.checks[name]}) has no name, and what has no name cannot be changed "
                "later: CheckConstraint(..., name=...)."
            )
        constraint = models[name]
        columns = {column.name for column in constraint.columns}
        is_wider = False
        if name in there.checks:
            splitting.check_dropped(key, name, there.checks[name])
            splitting.values_gone(key, constraint, _literals(there.checks[name]))
            is_wider = _literals(there.checks[name]) < _literals(aimed.checks[name])
        constraint.name = conv(name)
        splitting.check_added(
            key, constraint, is_harmless=is_wider or (bool(columns) and not columns <= there.types.keys())
        )


def _split_indexes(splitting: Splitting, table: Table, key: Key, before: Facts, wanted: Facts) -> None:
    """Those on SQLite: SQLAlchemy reflects columns as they are, and nothing of an expression, an order, a collation."""
    there, aimed = before.tables.get(key, TableFacts()).indexed, wanted.tables[key].indexed
    for name in sorted(there.keys() | aimed.keys()):
        old, new = there.get(name), aimed.get(name)
        if old is not None and new is not None and old.meaning == new.meaning:
            continue
        splitting.taken.add(name)
        if old is not None:
            splitting.index_dropped(DropIndexOp(name, table.name, _reverse=_as_it_was(name, table.name, old)))
        index = next((index for index in table.indexes if index.name == name), None)
        if index is not None:
            splitting.index_created(CreateIndexOp.from_index(index))


def _as_it_was(name: str, table: str, index: Indexed) -> CreateIndexOp:
    where: dict[str, Any] = {"sqlite_where": text(index.condition)} if index.condition else {}
    return CreateIndexOp(name, table, [text(index.terms)], unique=index.is_unique, **where)


def _name_of(constraint: CheckConstraint) -> str:
    """Its name in the database, as the naming convention makes it."""
    from sqlalchemy.dialects import postgresql

    dialect: Any = postgresql.dialect  # SQLAlchemy leaves its maker untyped.
    named = constraint.name is not None and dialect().identifier_preparer.format_constraint(constraint)
    return str(named or "").strip('"')


def _literals(sql: str) -> set[str]:
    """The texts that a check names: one for an enum allows more when it names more."""
    return set(re.findall(r"'((?:[^']|'')*)'", sql))
