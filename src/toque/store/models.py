"""`Model`: the base of an app's mapped classes.

A model is a plain SQLAlchemy 2.1 mapped class with `Mapped[...]` annotations; SQLAlchemy's documentation
holds. Added are a table name, names for every constraint (a migration can only change what has a name), and
types that keep a value exactly on both databases.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from sqlalchemy import JSON, DateTime, Enum, MetaData, Numeric, Uuid, exists
from sqlalchemy.orm import DeclarativeBase, declared_attr, has_inherited_table

from toque.store.rows import SHARED, Guarded, Rows, Rule, declare, declared, everybody, made_by

if TYPE_CHECKING:
    from toque.store.facts import Me

__all__ = ["NAMES", "Conventions", "Model"]

# As in SQLAlchemy's documentation, "Configuring Constraint Naming Conventions", with every column in the
# name.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
# Long enough that a new member of an enum does not change the column's type.
_ENUM_LENGTH = 64


def _stored_values(kind: type[enum.Enum]) -> list[str]:
    """What a column holds for an enum: its members' values, as on the wire; their names where values are no
    text."""
    values = [member.value for member in kind]
    return values if all(isinstance(value, str) for value in values) else [member.name for member in kind]


def _document() -> JSON:
    """The type of a document. SQLAlchemy calls what is no type yet, and so loads PostgreSQL's for who has one."""
    from sqlalchemy.dialects.postgresql import JSONB

    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


# Other documents are declared with their column: mapped_column(JSON).
_DOCUMENTS: tuple[Any, ...] = (
    *(dict, dict[str, Any], dict[str, object], dict[str, str], dict[str, int]),
    *(list, list[Any], list[object], list[str], list[int], list[dict[str, Any]]),
)


class Conventions:
    """What `Model` adds to SQLAlchemy's own base, for an app that keeps its tables apart from others in the same
    process: `class Base(Conventions, DeclarativeBase): metadata = MetaData(naming_convention=NAMES)`."""

    type_annotation_map = {
        datetime: DateTime(timezone=True),
        Decimal: Numeric(),
        UUID: Uuid(),
        **dict.fromkeys(_DOCUMENTS, _document),
        # Text with a CHECK: a native enum needs its own migration steps on PostgreSQL and does not exist on
        # SQLite.
        enum.Enum: Enum(
            enum.Enum,
            native_enum=False,
            create_constraint=True,
            length=_ENUM_LENGTH,
            values_callable=_stored_values,
        ),
    }

    _said: ClassVar[Mapping[str, Any]] = {}
    """What this class and its bases say of their rows."""

    def __init_subclass__(
        cls,
        *,
        shared: bool | None = None,
        tenant: str | None = None,
        owner: str | None = None,
        sensitive: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Map the class, and note whose rows its table holds (see `toque.store.rows`).

        An abstract base or a mixin says it for all its subclasses; a subclass may say else.

        Args:
            shared: its rows are everybody's.
            tenant: the column that holds the tenant whose row it is.
            owner: the column that holds the subject whose row it is.
            sensitive: the database enforces the rules once more by itself.
        """
        super().__init_subclass__(**kwargs)
        given = {"shared": shared, "tenant": tenant, "owner": owner, "sensitive": sensitive}
        said = {name: value for name, value in given.items() if value is not None}
        table: Any = vars(cls).get("__table__")
        says_rows = "__rows__" in vars(cls)
        if table is None and (said or says_rows) and has_inherited_table(cls):
            raise TypeError(f"{cls.__name__} shares the table of its base, which says whose rows it holds.")
        cls._said = _over(cls._said, said, says_rows)
        if table is not None:
            made_by(table, cls)
            cls._declare(table, is_part=has_inherited_table(cls) and not (said or says_rows))

    @classmethod
    def _declare(cls, table: Any, is_part: bool) -> None:
        said = cls._said
        if is_part and not said.get("shared") and not cls.__mapper__.concrete:  # type: ignore[attr-defined]
            declare(table, partial(_of_whole, cls), sensitive=said.get("sensitive", False))
            return
        has_rows = getattr(cls.__rows__, "__func__", None) is not vars(Conventions)["__rows__"].__func__
        rows = SHARED if said.get("shared") else cls.__rows__ if has_rows else None
        if rows is not None or said.get("tenant") or said.get("owner"):
            names = {name: said[name] for name in ("tenant", "owner", "sensitive") if name in said}
            declare(table, rows, **names)

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        """Who may read and write which rows: for a model to say."""
        raise NotImplementedError(f"{cls.__name__} does not say whose rows it holds")

    @declared_attr.directive
    @classmethod
    def __tablename__(cls) -> str | None:
        # A class that inherits a table shares it (single-table inheritance) unless it names its own.
        if has_inherited_table(cls):
            return None
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def _over(base: Mapping[str, Any], own: Mapping[str, Any], says_rows: bool) -> Mapping[str, Any]:
    """What a class says over what its base says: whoever is shared has no rules, and the reverse."""
    if own.get("shared"):
        return own
    has_rules = says_rows or own.get("tenant") or own.get("owner")
    return {**{name: value for name, value in base.items() if not (has_rules and name == "shared")}, **own}


def _of_whole(part: Any, _me: Me) -> Rows:
    """The rules of a table that holds a part of its base's rows (joined-table inheritance): theirs."""
    mapper = part.__mapper__
    whole = declared(mapper.inherits.local_table)
    if not isinstance(whole, Guarded):  # Nothing said is refused at start, so all that is left is shared.
        return Rows(read=everybody, write=everybody)

    def there(rule: Rule) -> Rule:
        return exists().where(mapper.inherit_condition, rule)

    return Rows(there(whole.read), insert=there(whole.insert), change=there(whole.change), delete=there(whole.delete))


class Model(Conventions, DeclarativeBase):
    """Subclass it once per table; the table is named like the class, in snake_case, unless `__tablename__`
    says else."""

    metadata = MetaData(naming_convention=NAMES)
