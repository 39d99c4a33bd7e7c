"""Objects as names and texts, for the formats that have nothing else: forms, multipart and CSV.

`address.city=Graz` is a field of an object, `tag=a&tag=b` a list, `items.0.dish_id=4` a field of the first
object of a list. Such formats cannot tell an empty list from a missing one, nor None from nothing: a list
that is missing is empty, and what may be None is None."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from toque.codecs.leaves import Uncarried, is_texts
from toque.contract import schema
from toque.contract.conversion import convert, enums_as_values
from toque.contract.errors import Fault, Invalid
from toque.contract.faults import below, invalid, refused
from toque.contract.text import texts_reader

__all__ = ["DEPTH_MAX", "object_reader"]

DEPTH_MAX = 16
"""Dots in a name. The qs library stops at 5; a dotted TOML key of 20 000 parts took tomllib 6.6 s."""

Pairs = Iterable[tuple[str, Any]]
_Read = Callable[[Any], Any]
_Known = dict[Any, _Read]


def issubclass_of(origin: Any, cls: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, cls)


def object_reader(tp: Any, *, fills_text: bool = False) -> Callable[[Pairs], Any] | None:
    """What makes a *tp* of pairs of names and texts (or files), or None where they cannot carry one.

    Args:
        fills_text: a required text that is missing is empty, as in CSV, where an empty cell says so.
    """
    arms = schema.plain_arms(tp)
    if not all(schema.is_object(arm) or issubclass_of(typing.get_origin(arm), Mapping) for arm in arms):
        return None
    try:
        read = _reader(tp, {}, fills_text)
    except Uncarried:
        return None
    is_open = not all(schema.is_object(arm) for arm in arms)
    names = None if is_open else _names(arms)
    return lambda pairs: convert(enums_as_values(read(_tree(pairs, names))), tp)


def _names(arms: Iterable[Any]) -> frozenset[str]:
    """The fields of object types, and what tells them apart."""
    fields = {field.name for arm in arms for field in schema.fields_of(arm)}
    tags = [getattr(getattr(arm, "__struct_config__", None), "tag_field", None) for arm in arms]
    return frozenset(fields.union(tag for tag in tags if tag))


def _tree(pairs: Pairs, known: frozenset[str] | None) -> dict[str, Any]:
    """Names split at their dots: objects as dicts, and at the ends the lists of what came under one name.

    Where all names are *known*, others mean nothing, so their dots mean nothing either.
    """
    root: dict[str, Any] = {}
    for name, leaf in pairs:
        if known is not None and name.partition(".")[0] not in known:
            root.setdefault(name, []).append(leaf)
            continue
        *parents, last = name.split(".", DEPTH_MAX + 1)
        if len(parents) > DEPTH_MAX:
            raise refused("$", f"names of at most {DEPTH_MAX} dots", "more")
        node = root
        for part in parents:
            node = node.setdefault(part, {})
            if isinstance(node, list):
                raise refused(f"$.{name}", "one value or fields", "both")
        held = node.setdefault(last, [])
        if isinstance(held, dict):
            raise refused(f"$.{name}", "one value or fields", "both")
        held.append(leaf)
    return root


def _reader(tp: Any, known: _Known, fills_text: bool) -> _Read:
    arms = [arm for arm in schema.plain_arms(tp) if arm is not type(None)]
    if len(arms) > 1 and all(map(schema.is_object, arms)):
        return _tagged_reader(arms, known, fills_text)
    only = arms[0] if len(arms) == 1 else tp
    if schema.is_object(only):
        return _fields_reader(only, known, fills_text)
    origin = typing.get_origin(only) or only
    if issubclass_of(origin, Mapping):
        return _dict_reader(_reader((typing.get_args(only) or (str, str))[1], known, fills_text))
    if schema.is_carried(only):
        return _file_reader
    if schema.is_container(only) and not is_texts(only):
        return _list_reader(only, known, fills_text)
    return _texts_reader(tp)


def _texts_reader(tp: Any) -> _Read:
    try:
        read = texts_reader(tp, place="body")
    except TypeError as error:
        raise Uncarried(str(error)) from error

    def texts(node: Any) -> Any:
        if not (isinstance(node, list) and all(isinstance(leaf, str) for leaf in node)):
            raise refused("$", "text", "fields" if isinstance(node, dict) else "a file")
        return read(node)

    return texts


def _file_reader(node: Any) -> Any:
    if not isinstance(node, list) or len(node) != 1 or isinstance(node[0], str):
        raise refused("$", "one file", "text or several")
    return node[0]


def _fields_reader(tp: Any, known: _Known, fills_text: bool) -> _Read:
    if tp in known:
        return known[tp]
    if not schema.is_written_by_name(tp):
        raise Uncarried(f"{tp} has no names")

    def later(node: Any) -> Any:
        return known[tp](node)

    known[tp] = later
    config = getattr(tp, "__struct_config__", None)
    readers = {field.name: _reader(field.text_type, known, fills_text) for field in schema.fields_of(tp)}
    if config is not None and config.tag is not None:
        readers[config.tag_field] = _texts_reader(Literal[config.tag])
    absent = {field.name: _absent(field, fills_text) for field in schema.fields_of(tp) if field.required}
    fillers = {name: make for name, make in absent.items() if make is not None}

    def read(node: Any) -> Any:
        if not isinstance(node, dict):
            raise refused("$", "fields", "one value")
        # A name that is no field goes on as it came: the type says whether it is ignored or refused.
        values = _read_all(node, lambda name, held: readers[name](held) if name in readers else _raw(held))
        for name, make in fillers.items():
            if name not in values:
                values[name] = make()
        return values

    known[tp] = read
    return read


def _absent(field: schema.Field, fills_text: bool) -> Callable[[], Any] | None:
    """What stands for a required field that did not come, where the format cannot say it otherwise."""
    arms = schema.plain_arms(field.text_type)
    if type(None) in arms:
        return lambda: None
    if len(arms) == 1 and schema.is_container(arms[0]):
        return dict if issubclass_of(typing.get_origin(arms[0]) or arms[0], Mapping) else list
    return str if fills_text and str in arms else None


def _raw(node: Any) -> Any:
    return node[0] if isinstance(node, list) and len(node) == 1 else node


def _read_all(
    node: dict[Any, Any], read: Callable[[Any, Any], Any], step: Callable[[Any], str] = "$.{}".format
) -> dict[Any, Any]:
    """Every member read, or all their faults together: a form tells all that is wrong at once."""
    values: dict[Any, Any] = {}
    faults: list[Fault] = []
    for name, held in node.items():
        try:
            values[name] = read(name, held)
        except Invalid as error:
            faults += below(step(name), error.faults)
    if faults:
        raise invalid(*faults)
    return values


def _dict_reader(item: _Read) -> _Read:
    def read(node: Any) -> Any:
        if not isinstance(node, dict):
            raise refused("$", "fields", "one value")
        return _read_all(node, lambda _name, held: item(held))

    return read


def _list_reader(tp: Any, known: _Known, fills_text: bool) -> _Read:
    """A list of objects, `items.0.dish_id`, or of files, which share one name."""
    arguments = [one for one in typing.get_args(tp) if one is not Ellipsis]
    if len(arguments) != 1:
        raise Uncarried(f"{tp} has places")
    is_files = schema.is_carried(schema.plain_type(arguments[0]))
    item = _reader(arguments[0], known, fills_text)

    def read(node: Any) -> Any:
        if is_files:
            return [item([leaf]) for leaf in node]
        if not isinstance(node, dict) or not all(name.isascii() and name.isdigit() for name in node):
            raise refused("$", "fields of numbered items, like `items.0.name`", "something else")
        # By number, whatever gaps there are: the numbers only say what belongs together.
        ordered = sorted(node, key=lambda name: (len(name.lstrip("0")), name.lstrip("0")))
        places = dict(enumerate(node[name] for name in ordered))
        return list(_read_all(places, lambda _place, held: item(held), "$[{}]".format).values())

    return read


def _tagged_reader(arms: list[Any], known: _Known, fills_text: bool) -> _Read:
    configs = [getattr(arm, "__struct_config__", None) for arm in arms]
    if any(config is None or config.tag is None for config in configs):
        raise Uncarried("only tagged Structs can be told apart")
    by_tag = {
        str(config.tag): _fields_reader(arm, known, fills_text)
        for arm, config in zip(arms, configs, strict=True)
        if config is not None
    }
    tag_field = str(getattr(configs[0], "tag_field", ""))

    def read(node: Any) -> Any:
        tag = _raw(node.get(tag_field)) if isinstance(node, dict) else None
        if not isinstance(tag, str) or tag not in by_tag:
            raise refused(f"$.{tag_field}", "one of " + ", ".join(by_tag), "something else")
        return by_tag[tag](node)

    return read
