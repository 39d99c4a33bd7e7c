"""Lists in a statement: `IN (...)` is written out anew for every number of values, once each.

SQLAlchemy compiles `column.in_(values)` to a mark in the text and fills it in when it knows the values. The
filled-in text depends on how many there are and on nothing else, so it is kept per length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.sql.compiler import SQLCompiler

from toque.contract.errors import Invalid
from toque.store.dialects import Unfit
from toque.store.prepared import Prepared

__all__ = ["UNFIT", "Expansion", "processed", "unfit"]

# A client may choose how many values it sends, so the texts kept are bounded; one more is written out each
# time.
KEPT_MAX = 256

UNFIT = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What a bind processor raises for a value that does not fit its column."""


class _Part(NamedTuple):
    """One parameter of a written-out text: the bind it belongs to, its place in that bind's list, its
    processor."""

    name: str
    place: int
    process: Callable[[Any], Any] | None


class _Text(NamedTuple):
    prepared: Prepared
    parts: tuple[_Part, ...]


_WHOLE = -1
"""The place of a parameter that is no list."""


class Expansion:
    """The texts of one compiled statement, by the lengths of its lists."""

    def __init__(self, compiled: SQLCompiler, prepared: Prepared) -> None:
        self._compiled = compiled
        self._prepared = prepared
        self._lists = tuple(compiled.bind_names[bind] for bind in compiled.post_compile_params)
        # What is written into the text as a literal differs for every value: nothing to keep.
        self._is_kept = not compiled.literal_execute_params
        self._texts: dict[tuple[int, ...], _Text] = {}

    def write(self, values: dict[str, Any]) -> tuple[Prepared, list[Any]]:
        """The text for *values*, by bind name, and its arguments in order."""
        lists = {name: list(values[name]) for name in self._lists}
        lengths = tuple(map(len, lists.values()))
        text = self._texts.get(lengths)
        if text is None:
            text = self._write({**values, **lists})
            if self._is_kept and len(self._texts) < KEPT_MAX:
                self._texts[lengths] = text
        flat = {name: _flat(items) for name, items in lists.items()}
        arguments = []
        for name, place, process in text.parts:
            value = values[name] if place == _WHOLE else flat[name][place]
            arguments.append(value if process is None else processed(process, value))
        return text.prepared, arguments

    def _write(self, values: dict[str, Any]) -> _Text:
        state = self._compiled._process_parameters_for_postcompile(dict(values))
        places = {
            part: (name, place) for name, parts in state.parameter_expansion.items() for place, part in enumerate(parts)
        }
        processors: Any = {**self._compiled._bind_processors, **state.processors}
        parts = tuple(
            _Part(*places.get(name, (name, _WHOLE)), processors.get(name)) for name in state.positiontup or ()
        )
        return _Text(self._prepared.written(state.statement), parts)


def processed(process: Callable[[Any], Any], value: Any) -> Any:
    """*value* as the driver takes it; a value that does not fit its column's type is the caller's fault."""
    try:
        return process(value)
    except UNFIT as error:
        raise unfit(error, f"it is {type(value).__name__}.") from error


def unfit(error: Exception, otherwise: str = "it is of another type.") -> Invalid:
    """What the caller hears of *error*: what would fit, where ours says so, else *otherwise*. Others may quote it."""
    return Invalid(f"A value does not fit its column: {error if isinstance(error, Unfit) else otherwise}")


def _flat(values: Sequence[Any]) -> Sequence[Any]:
    """A list of tuples as one list: the order in which a row-value IN is written."""
    if values and isinstance(values[0], tuple):
        return [item for value in values for item in value]
    return values
