"""A statement compiled once: its SQL text, and where each argument comes from.

SQLAlchemy compiles; the values are then taken from the binds of whichever statement with the same cache key
is run, from parameters given by name, or from a column's own default. Driver and result objects of SQLAlchemy
have no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, UpdateBase

from toque.contract.principal import ANONYMOUS, Principal
from toque.store.expansion import Expansion, processed
from toque.store.facts import Known
from toque.store.prepared import Prepared

__all__ = ["Compilation", "Parameters"]

Parameters = Mapping[str, Any]


class _Source(NamedTuple):
    """Where one argument comes from, the first that has it: parameters, the column's default, the statement's
    bind."""

    name: str
    """The name under which a parameter may bring it; empty for a value that only the statement has."""
    place: int
    """Its bind's place in the cache key; -1 when the key has none."""
    default: Callable[[], Any] | None
    process: Callable[[Any], Any] | None
    fact: Callable[[Principal], Any] | None = None
    """What it is about the caller that the store fills in, and nobody else."""


class Compilation:
    """One statement shape's SQL, and `arguments` for each run of it."""

    def __init__(self, statement: Any, original: Any, dialect: Dialect, names: Iterable[str] = ()) -> None:
        """Compile *statement*; its binds are those of *original*, of which it is a narrower form."""
        cache_key = original._generate_cache_key()
        key_binds: Sequence[Any] = () if cache_key is None else cache_key.bindparams
        attributes = _attribute_names(original, names, key_binds)
        compiled = _compile(statement, dialect, list(attributes))
        is_write = compiled.isinsert or compiled.isupdate or compiled.isdelete
        tables = (statement.table,) if isinstance(statement, UpdateBase) else ()
        self.compiled = compiled
        self.prepared = Prepared(compiled.string, is_write, tables)
        sources = {name: _source(name, compiled, key_binds, attributes) for name in compiled.bind_names.values()}
        in_order = [sources[name] for name in compiled.positiontup or ()]
        self._sources = [(source, source.fact, source.process) for source in in_order]
        self.sources = sources
        self.names = frozenset(source.name for source in sources.values() if source.name)
        is_expanding = compiled.post_compile_params or compiled.literal_execute_params
        self._expansion = Expansion(compiled, self.prepared) if is_expanding else None

    def arguments(
        self, binds: Sequence[Any], parameters: Parameters | None, principal: Principal = ANONYMOUS
    ) -> tuple[Prepared, list[Any]]:
        """The text to run and its arguments: the statement's own *binds*, or *parameters* by name.

        Args:
            principal: whom rules are about.
        """
        given = parameters or _NONE
        if not self.names.issuperset(given):
            raise self._unknown(given)
        if self._expansion is not None:
            values = {name: _value(source, binds, given, principal) for name, source in self.sources.items()}
            return self._expansion.write(values)
        return self.prepared, [
            value if process is None else processed(process, value)
            for source, fact, process in self._sources
            for value in (_value(source, binds, given, principal) if fact is None else fact(principal),)
        ]

    def value(self, name: str, binds: Sequence[Any], given: Parameters) -> Any:
        """What the bind *name* holds, as `arguments` would take it."""
        return _value(self.sources[name], binds, given, ANONYMOUS)

    def _unknown(self, given: Parameters) -> TypeError:
        name = next(name for name in given if name not in self.names)
        near = get_close_matches(name, self.names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(self.names)) or 'none'}."
        return TypeError(f"the statement has no parameter {name!r}; {hint}")


_NONE: Parameters = {}


def _value(source: _Source, binds: Sequence[Any], given: Parameters, principal: Principal) -> Any:
    name, place, default, _, fact = source
    if fact is not None:
        return fact(principal)
    if name in given:
        return given[name]
    if default is not None:
        return default()
    bind = binds[place] if place >= 0 else None
    if bind is None or bind.required:
        raise TypeError(f"the statement needs a value for {name!r}: give parameters={{{name!r}: ...}}.")
    return bind.value if bind.callable is None else bind.callable()


def _source(name: str, compiled: SQLCompiler, key_binds: Sequence[Any], attributes: Mapping[str, str]) -> _Source:
    bind = compiled.binds[name]
    if isinstance(bind, Known):
        return _Source(
            "", -1, None, bind.type.dialect_impl(compiled.dialect).bind_processor(compiled.dialect), bind.fact.of
        )
    # The ORM's compiler may have cloned the bind that the cache key lists.
    twins = {id(twin) for twin in bind._cloned_set}
    index = next((i for i, listed in enumerate(key_binds) if id(listed) in twins), -1)
    default = _column_defaults(compiled).get(bind.key)
    if index < 0 and default is None and not bind.required:
        default = lambda: bind.effective_value  # noqa: E731 - a value that the compiler itself put in
    process = None if bind in compiled.post_compile_params else compiled._bind_processors.get(name)
    parameter = "" if bind.unique else attributes.get(bind.key, bind.key)
    return _Source(parameter, index, default, process)  # type: ignore[arg-type]


def _column_defaults(compiled: SQLCompiler) -> dict[str, Callable[[], Any]]:
    """For each column that no value came for, its default or `onupdate` written in Python."""
    defaults = {}
    for column in compiled.insert_prefetch:
        defaults[column.key] = _call(column.default)
    for column in compiled.update_prefetch:
        defaults[column.key] = _call(column.onupdate)
    return defaults


def _call(default: Any) -> Callable[[], Any]:
    # SQLAlchemy wraps every callable so that it takes its execution context, which does not exist here.
    return (lambda: default.arg(None)) if default.is_callable else (lambda: default.arg)


def _compile(statement: Any, dialect: Dialect, column_keys: list[str]) -> SQLCompiler:
    options: dict[str, Any] = {"column_keys": column_keys} if column_keys else {}
    if isinstance(statement, Insert) and not statement._returning:
        # Otherwise SQLAlchemy adds RETURNING for the primary key, which its own session would want.
        options["for_executemany"] = True
    compiled: SQLCompiler = statement.compile(dialect=dialect, **options)
    return compiled


def _attribute_names(statement: Any, names: Iterable[str], binds: Sequence[Any]) -> dict[str, str]:
    """For a write, the columns that its parameters set: column key -> the attribute's name."""
    if not isinstance(statement, UpdateBase):
        return {}
    own = {bind.key for bind in binds}
    mapper = statement._propagate_attrs.get("plugin_subject")
    columns = {}
    for name in names:
        if name not in own:
            attribute = getattr(mapper, "column_attrs", {}).get(name) if mapper is not None else None
            columns[name if attribute is None else attribute.columns[0].key] = name
    return columns
