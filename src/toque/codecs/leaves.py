"""The plain values inside an object, each under its dotted name: what forms and CSV write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from toque.contract import schema
from toque.contract.text import text_reader

__all__ = ["Leaf", "Uncarried", "is_texts", "leaves_of", "text_of"]


class Uncarried(TypeError):
    """The type has a part that names and texts cannot carry."""


class Leaf(Struct, frozen=True):
    """One plain value inside an object: its names from the outside in, and its type."""

    names: tuple[str, ...]
    type: Any
    is_list: bool = False
    is_nullable: bool = False
    """It, or an object around it, may be None."""
    is_required: bool = False
    """It has no default, and neither has an object around it, nor may one be None."""

    @property
    def name(self) -> str:
        return ".".join(self.names)

    @property
    def is_free_text(self) -> bool:
        """Whether it may hold what anybody wrote; base64, too, can start with a plus."""
        return self.may_be_empty_text or schema.ForeignText in schema.plain_arms(self.type)

    @property
    def may_be_empty_text(self) -> bool:
        return not {str, bytes, Any}.isdisjoint(schema.plain_arms(self.type))

    def of(self, members: Any) -> Any:
        """Its value in an object of plain values."""
        for name in self.names:
            if not isinstance(members, dict):
                return None
            members = members.get(name)
        return members


_FieldsOf = Callable[[Any], tuple[schema.Field, ...]]


def leaves_of(tp: Any, fields_of: _FieldsOf = schema.fields_of) -> tuple[Leaf, ...] | None:
    """The plain values inside an object type, in order, or None where it holds more than names and texts
    can.

    Args:
        fields_of: which fields are meant, those that are read or those that leave.
    """
    if not schema.is_object(schema.plain_type(tp)):
        return None
    try:
        return tuple(_leaves(schema.plain_type(tp), fields_of, (), (), nullable=False, required=True))
    except Uncarried:
        return None


def _leaves(
    tp: Any, fields_of: _FieldsOf, names: tuple[str, ...], around: tuple[Any, ...], *, nullable: bool, required: bool
) -> Iterator[Leaf]:
    if tp in around or not schema.is_written_by_name(tp):
        raise Uncarried(f"{tp} holds itself, or has no names")
    config = getattr(tp, "__struct_config__", None)
    if config is not None and config.tag is not None:
        yield Leaf((*names, config.tag_field), str, is_nullable=nullable)
    for field in fields_of(tp):
        arms = schema.plain_arms(field.text_type)
        may_be_none = nullable or type(None) in arms
        only = [arm for arm in arms if arm is not type(None)]
        path = (*names, field.name)
        is_required = required and field.required
        if len(only) == 1 and schema.is_object(only[0]):
            is_there = is_required and not may_be_none
            yield from _leaves(only[0], fields_of, path, (*around, tp), nullable=may_be_none, required=is_there)
            continue
        if not is_texts(field.text_type) or Any in arms:
            raise Uncarried(f"{field.name} holds more than text")
        is_list = any(map(schema.is_container, only))
        yield Leaf(path, field.text_type, is_list, may_be_none, is_required)


def text_of(value: Any) -> str:
    """A plain value as text; None is empty, and so is a float that is not finite."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_texts(tp: Any) -> bool:
    """Whether *tp* is a list of plain values, which repeated names carry."""
    try:
        text_reader(tp)
    except TypeError:
        return False
    return True
