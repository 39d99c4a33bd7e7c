"""Types as neutral facts: what a type holds, how values of it are made, what is wrong when they cannot be.

msgspec does the work. Structs, dataclasses, attrs classes and TypedDicts are its own; a pydantic model is
known by its attributes (`model_validate`, `model_dump`) and goes through the hooks below, never imported.
A class that carries its own JSON Schema in `__json_schema__` (an uploaded file) passes through as it is.

Sources: the JSON Schema of msgspec and of pydantic, RFC 3339 (dates), and for what hostile input costs the
measurements of 2026-11 on Python 3.11: a set of 8 000 UUIDs or Decimals that collide takes 2.4 s or 0.7 s.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec
from msgspec import NODEFAULT, inspect

from toque.contract.errors import Fault, Invalid

__all__ = [
    "Field",
    "arms_of",
    "bounded_decimal",
    "convert",
    "dec_hook",
    "enc_hook",
    "faults_from",
    "fields_of",
    "from_text",
    "holds",
    "is_carried",
    "is_container",
    "is_object",
    "is_pydantic",
    "is_structured",
    "json_schema",
    "key_guard",
    "may_crowd",
    "plain_type",
    "refusal",
    "refused",
    "text_reader",
    "texts_reader",
    "unserialisable",
]

INT_DIGITS_MAX = 20
"""Digits of an integer given as text: 2**64 - 1 has 20, and no store or format here keeps more."""
DECIMAL_EXPONENT_MAX = 6144
"""The largest exponent of a Decimal from outside, either way: that of IEEE 754 decimal128. The eleven bytes
`1e999999999` are 400 MB as an int."""
COLLIDING_KEYS_MAX = 256
"""Keys of a dict or members of a set that may share one hash: 256 cost 1 to 3 ms, 8 000 cost seconds."""
FAULTS_MAX = 100
"""Faults in one answer; pydantic reports each of a million wrong items, and nobody reads past the first."""
FAULT_TEXT_MAX = 200
"""Characters of one fault's text: a message may quote the client's own value, which may be a megabyte."""

_SCALARS = (str, int, float, bool, bytes, UUID, Decimal, datetime, date, time, timedelta, type(None))
_CONTAINERS = (list, dict, set, frozenset, tuple)
_REFS = "#/components/schemas/{name}"


# What a type is.


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of an object type: `name` on the wire, `attribute` in Python."""

    name: str
    type: Any
    required: bool = True
    default: Any = NODEFAULT
    """The default value; `NODEFAULT` where there is none or where it is made anew each time."""
    doc: str = ""
    attribute: str = ""


def plain_type(tp: Any) -> Any:
    """*tp* without `Annotated`, `NewType`, `type` aliases and the `Required` marks of a TypedDict."""
    while True:
        origin = typing.get_origin(tp)
        if origin in (Annotated, typing.Required, typing.NotRequired):
            tp = typing.get_args(tp)[0]
        elif isinstance(tp, typing.NewType):
            tp = tp.__supertype__
        elif type(tp).__name__ == "TypeAliasType":
            tp = tp.__value__
        else:
            return tp


def arms_of(tp: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    tp = plain_type(tp)
    return typing.get_args(tp) if typing.get_origin(tp) in (Union, types.UnionType) else (tp,)


def is_pydantic(tp: Any) -> bool:
    return isinstance(tp, type) and hasattr(tp, "model_validate") and hasattr(tp, "model_dump")


def is_object(tp: Any) -> bool:
    """Whether *tp* is an object type with named fields of any of the five kinds."""
    cls = typing.get_origin(tp) or tp
    return isinstance(cls, type) and (
        issubclass(cls, msgspec.Struct)
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or typing.is_typeddict(cls)
        or is_pydantic(cls)
    )


def is_structured(tp: Any) -> bool:
    """Whether *tp* is an object, a list, a set, a tuple or a dict, or a union of only these (and None)."""
    arms = [plain_type(arm) for arm in arms_of(tp) if arm is not type(None)]
    return bool(arms) and all(is_object(arm) or is_container(arm) for arm in arms)


def is_container(tp: Any) -> bool:
    origin = typing.get_origin(tp) or tp
    return isinstance(origin, type) and (
        issubclass(origin, _CONTAINERS)
        or origin in (Sequence, Mapping, AbstractSet)
        or (origin.__module__ == "collections.abc" and origin.__name__.startswith("Mutable"))
    )


@functools.cache
def fields_of(tp: Any) -> tuple[Field, ...]:
    """The fields of an object type, in their order; empty for every other type."""
    tp = plain_type(tp)
    if not is_object(tp):
        return ()
    if is_pydantic(tp):
        return tuple(_pydantic_field(name, field) for name, field in tp.model_fields.items())
    hints = _hints(tp)
    found: Any = inspect.type_info(tp)
    return tuple(
        Field(
            field.encode_name,
            hints[field.name],
            field.required,
            field.default,
            _doc(hints[field.name]),
            field.name,
        )
        for field in found.fields
    )


def _hints(tp: Any) -> dict[str, Any]:
    """The fields' types, with the arguments of a generic type in the place of its variables."""
    cls = typing.get_origin(tp) or tp
    hints = typing.get_type_hints(cls, include_extras=True)
    variables = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(tp), strict=False))
    if not variables:
        return hints
    return {name: _substituted(hint, variables) for name, hint in hints.items()}


def _substituted(hint: Any, variables: dict[Any, Any]) -> Any:
    if hint in variables:
        return variables[hint]
    free = getattr(hint, "__parameters__", ())
    return (
        hint[tuple(variables.get(one, one) for one in free)] if free and not isinstance(hint, type) else hint
    )


def _doc(hint: Any) -> str:
    metas = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, msgspec.Meta)]
    return next((meta.description for meta in metas if meta.description), "")


def _pydantic_field(name: str, field: Any) -> Field:
    required = field.is_required()
    default = NODEFAULT if required or field.default_factory is not None else field.default
    tp = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return Field(field.alias or name, tp, required, default, field.description or "", name)


@functools.cache
def nodes_of(tp: Any, *, in_models: bool = False) -> tuple[inspect.Type, ...]:
    """Every type that a value of *tp* may hold, as msgspec sees it, each object type once.

    To msgspec a pydantic model is one closed thing; *in_models* also looks at its fields.
    """
    found: list[inspect.Type] = []
    seen: set[int] = set()
    waiting: list[inspect.Type] = [inspect.type_info(tp)]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        found.append(node)
        waiting.extend(_children(node))
        if in_models and isinstance(node, inspect.CustomType):
            waiting.extend(inner for _, inner in _model_members(node.cls))
    return tuple(found)


@functools.cache
def _model_members(cls: Any) -> tuple[tuple[str, inspect.Type], ...]:
    """The fields of a pydantic model as msgspec would see them; of what it cannot read it says nothing."""
    return tuple((field.name, _readable(field.type)) for field in fields_of(cls)) if is_pydantic(cls) else ()


def _readable(tp: Any) -> inspect.Type:
    try:
        return inspect.type_info(tp)
    except TypeError:
        return inspect.AnyType()


def _children(node: inspect.Type) -> Iterator[inspect.Type]:
    for name in node.__struct_fields__:
        value = getattr(node, name)
        for item in value if isinstance(value, tuple) else (value,):
            inner = item.type if isinstance(item, inspect.Field) else item
            if isinstance(inner, inspect.Type):
                yield inner


def holds(tp: Any, *kinds: type) -> bool:
    """Whether a value of *tp* may hold one of *kinds*: node types of `msgspec.inspect`, or classes."""
    return any(isinstance(node, kinds) or getattr(node, "cls", None) in kinds for node in nodes_of(tp))


def is_carried(tp: Any) -> bool:
    """Whether *tp* is a class that passes as it is and brings its own JSON Schema, like an uploaded file."""
    return isinstance(tp, type) and hasattr(tp, "__json_schema__")


def unserialisable(tp: Any) -> str | None:
    """Why *tp* can be neither an input nor an output, with what to do, or None where it can."""
    try:
        classes = [cls for node in nodes_of(tp) if isinstance(cls := getattr(node, "cls", None), type)]
        customs = [node.cls for node in nodes_of(tp) if isinstance(node, inspect.CustomType)]
        msgspec.json.Decoder(tp)
    except (TypeError, NameError, AttributeError) as error:
        return f"{_name(tp)} is not a type that can be read: {error}"
    for cls in classes:
        if hasattr(cls, "__mapper__"):
            return (
                f"{_name(cls)} is a database model, and a model neither enters nor leaves; "
                f"declare a Struct of the fields that may (class {cls.__name__}View(Struct): ...)"
            )
    for cls in customs:
        if not is_pydantic(cls) and not is_carried(cls):
            return (
                f"no format carries {_name(cls)}; declare a Struct, dataclass, attrs class, TypedDict or "
                "pydantic model with the fields that travel" + (", or Any" if cls is object else "")
            )
    return None


def _name(tp: Any) -> str:
    return tp.__qualname__ if isinstance(tp, type) else str(tp)


# What a type looks like to others.


def json_schema(tps: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The JSON Schemas of *tps*, and the components that they refer to as `#/components/schemas/NAME`.

    A component is named after its class; where two classes share a name, both carry their module's. What a
    pydantic model refers to is named below it (`Order.Item`), so no model's schema depends on another's.
    """
    models: list[Any] = []

    def collect(cls: Any) -> dict[str, Any]:
        if is_pydantic(cls) and cls not in models:
            models.append(cls)
        return dict(getattr(cls, "__json_schema__", {"title": cls.__name__}))

    _, known = msgspec.json.schema_components(tps, schema_hook=collect, ref_template=_REFS)
    names = {model: _component_name(model, models, known) for model in models}

    def refer(cls: Any) -> dict[str, Any]:
        return {"$ref": _REFS.format(name=names[cls])} if cls in names else collect(cls)

    schemas, components = msgspec.json.schema_components(tps, schema_hook=refer, ref_template=_REFS)
    for model, name in names.items():
        schema = model.model_json_schema(ref_template=_REFS.format(name=name + ".{model}"))
        components |= {f"{name}.{inner}": part for inner, part in schema.pop("$defs", {}).items()}
        components[name] = schema
    return list(schemas), dict(sorted(components.items()))


def _component_name(model: Any, models: list[Any], known: Mapping[str, Any]) -> str:
    is_alone = [one.__name__ for one in models].count(model.__name__) == 1 and model.__name__ not in known
    name = model.__name__ if is_alone else f"{model.__module__}.{model.__qualname__}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


# Values of a type.


def enc_hook(value: Any) -> Any:
    """A pydantic model as plain values: those of its own JSON form, so that every format says the same."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"no format carries {_name(type(value))}; answer with a declared view")


def dec_hook(tp: Any, value: Any) -> Any:
    """Plain values as a pydantic model.

    A strict model takes a date as text from JSON only, and here JSON is already parsed into plain values. So
    what it refuses is offered once more as JSON, unless it holds what JSON cannot carry, as bytes.
    """
    if isinstance(value, tp):
        return value
    if not is_pydantic(tp):
        raise ValueError(f"Expected `{_name(tp)}`, got `{type(value).__name__}`")
    try:
        return tp.model_validate(value)
    except ValueError:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            text = None
        if text is None:
            raise
    return tp.model_validate_json(text)


def convert(value: Any, tp: Any, *, strict: bool = True, place: str = "body", path: str = "$") -> Any:
    """*value*, plain values of any format, as a value of *tp*.

    Args:
        strict: False also takes numbers, booleans and null as text.
        place, path: where the value stands, for the faults.

    Raises: Invalid with the faults.
    """
    if (guard := key_guard(tp)) is not None:
        guard(value, place, path)
    try:
        return msgspec.convert(value, tp, strict=strict, str_keys=True, dec_hook=dec_hook)
    except (msgspec.ValidationError, RecursionError) as error:
        raise refusal(error, place, path) from error


def refusal(error: Exception, place: str, path: str = "$") -> Invalid:
    """The Invalid that tells the caller of a conversion that failed."""
    if isinstance(error, RecursionError):
        return Invalid("The input is nested too deeply.", faults=(Fault(path, "nested too deeply", place),))
    faults = faults_from(error, place)
    if path != "$":
        faults = tuple(msgspec.structs.replace(fault, path=path + fault.path[1:]) for fault in faults)
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Invalid(f"{first.message} at {first.path}{more}"[:FAULT_TEXT_MAX], faults=faults)


# What is wrong with a value.

_AT = re.compile(r" - at (?:`key` in )?`(?P<path>\$[^`]*)`\Z")
_EXPECTED = re.compile(r"\AExpected (?P<expected>.+?)(?:, got `?(?P<received>[^`]*)`?)?\Z", re.DOTALL)
_MISSING = re.compile(r"\AObject missing required field `(?P<name>[^`]*)`\Z")
_UNKNOWN = re.compile(r"\AObject contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_WRONG = re.compile(r"\AInvalid (?P<expected>(?:(?! '| -?\d).)+)(?: (?P<received>.+))?\Z", re.DOTALL)


def faults_from(exc: BaseException, place: str = "body") -> tuple[Fault, ...]:
    """What msgspec, or pydantic inside it, found wrong, as faults with path, expected and received."""
    # Anchored at the end, because the text before may quote the client, who may write what looks like a path.
    text = str(exc)
    located = _AT.search(text)
    path, message = (located["path"], text[: located.start()]) if located else ("$", text)
    errors: Any = getattr(exc.__cause__, "errors", None)
    if errors is not None:
        details = errors(include_url=False, include_context=False)[:FAULTS_MAX]
        return tuple(_pydantic_fault(path, detail, place) for detail in details)
    return (_fault(path, message, place),)


def _fault(path: str, message: str, place: str) -> Fault:
    expected, received = "", ""
    if found := _MISSING.match(message):
        path, expected, received = f"{path}.{found['name']}", "a value", "nothing"
        message = "Expected a value, got nothing"
    elif found := _UNKNOWN.match(message):
        path, expected, received = f"{path}.{found['name']}", "no such field", "a value"
    elif (found := _EXPECTED.match(message)) or (found := _WRONG.match(message)):
        expected, received = found["expected"].replace("`", ""), found["received"] or ""
    return Fault(_cut(path), _cut(message.replace("`", "")), place, _cut(expected), _cut(received))


def _pydantic_fault(path: str, detail: Mapping[str, Any], place: str) -> Fault:
    path += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    if detail["type"] == "missing":
        return Fault(_cut(path), "Expected a value, got nothing", place, "a value", "nothing")
    message = str(detail["msg"])
    _, _, expected = message.partition("Input should be ")
    return Fault(
        _cut(path), _cut(message), place, _cut(expected.partition(",")[0]), type(detail["input"]).__name__
    )


def _cut(text: str) -> str:
    return text if len(text) <= FAULT_TEXT_MAX else text[: FAULT_TEXT_MAX - 1] + "…"


# Values of a type, from text.


def from_text(text: str | list[str], tp: Any, *, place: str = "query", path: str = "$") -> Any:
    """The value of *tp* that *text*, or a list of texts, stands for; see `text_reader`."""
    return text_reader(tp, place=place, path=path)(text)


def text_reader(tp: Any, *, place: str = "query", path: str = "$") -> Callable[[Any], Any]:
    """What turns text into a value of *tp*, made once and called per request.

    A list type takes the list of a repeated field's texts, every other type one text. An empty text is None
    where None is allowed, except beside str, where it is the empty string.

    Raises: TypeError at once where no text can stand for *tp*; the reader itself raises Invalid.
    """
    inner, constrained = plain_type(tp), typing.get_origin(tp) is Annotated
    try:
        read = _reader(inner, place, path)
    except KeyError:
        raise TypeError(f"no text can stand for {_name(tp)}; take it from the body") from None
    if not constrained:
        return read
    return lambda text: convert(read(text), tp, place=place, path=path)


def texts_reader(tp: Any, *, place: str = "query", path: str = "$") -> Callable[[list[str]], Any]:
    """Like `text_reader`, from the list of texts that a field came with: just one, unless *tp* is a list."""
    read = text_reader(tp, place=place, path=path)
    if any(is_container(plain_type(arm)) for arm in arms_of(tp)):
        return read

    def read_one(texts: list[str]) -> Any:
        if len(texts) != 1:
            raise _unreadable(texts, "one value", place, path)
        return read(texts[0])

    return read_one


def _reader(tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    origin = typing.get_origin(tp)
    if origin in (Union, types.UnionType):
        return _union_reader(tp, place, path)
    if is_container(tp) and not issubclass(origin or tp, dict | Mapping):
        return _list_reader(tp, place, path)
    if origin is Literal:
        return _choice_reader({_text_of(value): value for value in typing.get_args(tp)}, place, path)
    if isinstance(tp, type) and issubclass(tp, enum.Enum):
        return _choice_reader({_text_of(member.value): member for member in tp}, place, path)
    if tp in (str, Any):
        return _as_it_is
    if tp is bool:
        return _choice_reader({"true": True, "false": False, "1": True, "0": False}, place, path)
    parse, expected = _PARSERS[tp]

    def read(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, ArithmeticError):
            raise _unreadable(text, expected, place, path) from None

    return read


def _as_it_is(text: str) -> str:
    return text


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _choice_reader(choices: dict[str, Any], place: str, path: str) -> Callable[[Any], Any]:
    expected = "one of " + ", ".join(choices)

    def read(text: str) -> Any:
        try:
            return choices[text]
        except KeyError:
            raise _unreadable(text, expected, place, path) from None

    return read


def _union_reader(tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    """The first arm that can read the text, str last, because it reads every text."""
    arms = sorted(typing.get_args(tp), key=lambda arm: plain_type(arm) is str)
    takes_none, takes_str = type(None) in arms, any(plain_type(arm) is str for arm in arms)
    readers = [text_reader(arm, place=place, path=path) for arm in arms if arm is not type(None)]
    expected = " or ".join(_name(plain_type(arm)) for arm in arms if arm is not type(None))

    def read(text: Any) -> Any:
        if takes_none and not takes_str and text == "":
            return None
        for reader in readers[:-1]:
            try:
                return reader(text)
            except Invalid:
                continue
        if len(readers) == 1 or takes_str:
            return readers[-1](text)
        try:
            return readers[-1](text)
        except Invalid:
            raise _unreadable(text, expected, place, path) from None

    return read


def _list_reader(tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    arguments = [one for one in typing.get_args(tp) if one is not Ellipsis] or [str]
    if len(arguments) != 1:
        raise KeyError(tp)
    made = typing.get_origin(tp) or tp
    made = made if made in _CONTAINERS else (frozenset if issubclass(made, AbstractSet) else list)
    item = text_reader(arguments[0], place=place, path=path + "[...]")

    def read(texts: Any) -> Any:
        return made([item(text) for text in ([texts] if isinstance(texts, str) else texts)])

    return read


def _unreadable(text: Any, expected: str, place: str, path: str) -> Invalid:
    received = f"'{text}'" if isinstance(text, str) else f"{len(text)} values"
    return refused(path, _cut(expected), _cut(received), place)


def _int(text: str) -> int:
    # int() alone takes spaces, underscores and the digits of every script, and any number of them.
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= INT_DIGITS_MAX):
        raise ValueError
    return int(text)


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def _float(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return bounded_decimal(Decimal(text))


def bounded_decimal(number: Decimal) -> Decimal:
    """*number* where it is finite and neither end of it lies beyond `DECIMAL_EXPONENT_MAX`."""
    lowest = number.as_tuple().exponent
    if not isinstance(lowest, int) or max(number.adjusted(), -lowest) > DECIMAL_EXPONENT_MAX:
        raise InvalidOperation("the exponent is out of range")
    return number


def _rfc3339(tp: type) -> Callable[[str], Any]:
    # Strict, so that "5" is no date: lax msgspec reads digits as seconds since 1970.
    return lambda text: msgspec.convert(text, tp)


_PARSERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (_int, f"an integer of at most {INT_DIGITS_MAX} digits"),
    float: (_float, "a finite number"),
    Decimal: (_decimal, f"a decimal number with an exponent within {DECIMAL_EXPONENT_MAX}"),
    UUID: (_rfc3339(UUID), "a UUID"),
    datetime: (_rfc3339(datetime), "an RFC 3339 date-time"),
    date: (_rfc3339(date), "an RFC 3339 date"),
    time: (_rfc3339(time), "an RFC 3339 time"),
    timedelta: (_rfc3339(timedelta), "an ISO 8601 duration"),
    bytes: (_rfc3339(bytes), "base64"),
}


# What plain values may not do to us.


@functools.cache
def key_guard(tp: Any) -> Callable[..., None] | None:
    """What refuses plain values that are costly to turn into a *tp*, or None where none can be.

    Two things are: Decimals whose exponent makes every later sum a calamity, and dicts and sets keyed by
    numbers chosen to share one hash (Python's numeric hash is the remainder by 2**61 - 1; UUIDs and tuples
    follow it), which makes them quadratic. Text is safe: its hash is secret. So the guard looks at plain
    values, before conversion.
    """
    is_priced = any(isinstance(node, inspect.DecimalType) for node in nodes_of(tp, in_models=True))
    if not (is_priced or may_crowd(tp)):
        return None
    root = inspect.type_info(tp)

    def guard(value: Any, place: str = "body", path: str = "$") -> None:
        try:
            _examine(root, value, path)
        except Invalid as error:
            placed = [msgspec.structs.replace(fault, place=place) for fault in error.faults]
            raise Invalid(error.detail, faults=placed) from None

    return guard


def may_crowd(tp: Any) -> bool:
    """Whether a value of *tp* may hold a dict or set whose keys a client could make collide."""
    return any(_keys_of(node) is not None for node in nodes_of(tp, in_models=True))


_KEY_TYPES: dict[type, Any] = {
    inspect.IntType: int,
    inspect.DecimalType: Decimal,
    inspect.UUIDType: UUID,
    inspect.TimeDeltaType: timedelta,
}
_SAFE_KEYS = (
    inspect.StrType,
    inspect.BytesType,
    inspect.BoolType,
    inspect.FloatType,
    inspect.NoneType,
    inspect.EnumType,
    inspect.LiteralType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
)


def _keys_of(node: Any) -> inspect.Type | None:
    """The type of the keys or members that *node* hashes, where a client could make them collide."""
    if isinstance(node, inspect.SetType | inspect.FrozenSetType):
        return None if isinstance(node.item_type, _SAFE_KEYS) else node.item_type
    # The keys of an untyped dict are text (and what else MessagePack has, which its codec looks after).
    if isinstance(node, inspect.DictType) and not isinstance(node.key_type, (*_SAFE_KEYS, inspect.AnyType)):
        return node.key_type
    return None


def _examine(node: Any, value: Any, path: str) -> None:
    if isinstance(node, inspect.UnionType):
        node = _arm_for(node, value)
    if isinstance(node, inspect.DecimalType):
        _refuse_wild_decimal(value, path)
    elif isinstance(value, dict):
        if (keys := _keys_of(node)) is not None:
            _refuse_collisions(keys, value, path)
        for name, inner in _members(node):
            if name in value:
                _examine(inner, value[name], f"{path}.{name}")
        if isinstance(node, inspect.DictType):
            for key, item in value.items():
                _examine(node.key_type, key, path)
                _examine(node.value_type, item, f"{path}[...]")
    elif isinstance(value, list | tuple | set | frozenset):
        if (keys := _keys_of(node)) is not None:
            _refuse_collisions(keys, value, path)
        for inner, item in zip(_places(node), value, strict=False):
            _examine(inner, item, f"{path}[...]")


def _arm_for(node: inspect.UnionType, value: Any) -> inspect.Type | None:
    """The one arm that *value* can become: a union has one of each shape at most, or a tag."""
    return next((arm for arm in node.types if _may_become(arm, value)), None)


def _may_become(arm: Any, value: Any) -> bool:
    tag = getattr(arm, "tag", None)
    if isinstance(value, dict):
        takes_names = (
            hasattr(arm, "key_type") or hasattr(arm, "fields") or isinstance(arm, inspect.CustomType)
        )
        return takes_names and (tag is None or value.get(getattr(arm, "tag_field", "")) == tag)
    if isinstance(value, list | tuple):
        return _has_places(arm) and (tag is None or [*value[:1]] == [tag])
    return isinstance(arm, inspect.DecimalType)


def _members(node: Any) -> list[tuple[str, inspect.Type]]:
    if isinstance(node, inspect.CustomType):
        return [*_model_members(node.cls)]
    return [(field.encode_name, field.type) for field in getattr(node, "fields", ())]


def _has_places(node: Any) -> bool:
    return hasattr(node, "item_type") or hasattr(node, "item_types") or getattr(node, "array_like", False)


def _places(node: Any) -> Iterator[inspect.Type]:
    """The type of each element, in order."""
    if (item := getattr(node, "item_type", None)) is not None:
        return itertools.repeat(item)
    if getattr(node, "tag", None) is not None:
        return itertools.chain([inspect.AnyType()], (field.type for field in node.fields))
    return iter(getattr(node, "item_types", None) or [field.type for field in getattr(node, "fields", ())])


def _refuse_wild_decimal(value: Any, path: str) -> None:
    try:
        if isinstance(value, str | int | float | Decimal):
            bounded_decimal(Decimal(value))
    except (ArithmeticError, ValueError):
        expected = f"a finite decimal number with an exponent within {DECIMAL_EXPONENT_MAX}"
        raise refused(path, expected, "one beyond it") from None


def _refuse_collisions(node: Any, keys: Any, path: str) -> None:
    if len(keys) <= COLLIDING_KEYS_MAX:
        return
    tp = getattr(node, "cls", None) or _KEY_TYPES.get(type(node))
    if tp is None:
        raise refused(path, f"at most {COLLIDING_KEYS_MAX} keys of this type", f"{len(keys)}")
    try:
        hashes = {hash(msgspec.convert(key, tp, strict=False)) for key in keys}
    except (TypeError, msgspec.ValidationError):
        return  # The conversion itself will say what is wrong, and stops at the first wrong key.
    if len(keys) - len(hashes) > COLLIDING_KEYS_MAX:
        raise refused(path, f"at most {COLLIDING_KEYS_MAX} keys of one hash", f"{len(keys)} of {len(hashes)}")


def refused(path: str, expected: str, received: str, place: str = "body") -> Invalid:
    """An Invalid of one fault."""
    message = f"Expected {expected}, got {received}"
    return Invalid(f"{message} at {path}.", faults=(Fault(path, message, place, expected, received),))
