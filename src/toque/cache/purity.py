"""Whether an operation's answer can depend on nothing but its inputs, its caller and the database, read from its code.

Like `store/named.py` it follows what the code names: the functions and classes of the app, to whatever they name in
turn. What it does not know counts as impure, because an answer that is kept too long is worse than one that is not.
"""

from __future__ import annotations

import builtins
import dis
import enum
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import _lru_cache_wrapper, partial
from operator import itemgetter
from types import (
    BuiltinFunctionType,
    CodeType,
    EllipsisType,
    FunctionType,
    GenericAlias,
    MethodType,
    MethodWrapperType,
    ModuleType,
    NoneType,
    NotImplementedType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any

from toque.cache.library_names import CLOCKS, CONSTANT, LIBRARIES, MOVING, SESSIONS, STILL
from toque.cache.written import Written, is_attribute_written, written_by, written_in
from toque.contract.code import TooMuch, codes_of, is_library, is_of_library, reached

__all__ = ["Impure", "module_of", "named_by", "why_impure"]

_MUTABLE = (list, dict, set, bytearray)
_PLAIN = (bool, int, float, complex, str, bytes, NoneType, NotImplementedType, EllipsisType)
_BUILT_IN = (BuiltinFunctionType, MethodWrapperType, WrapperDescriptorType)


class Impure(Exception):
    """Why."""


def why_impure(roots: Iterable[Any]) -> str:
    """Why the answer of *roots*, the functions and classes of an operation, may change although no row does; empty
    where nothing speaks for that."""
    named = [(getattr(root, "__name__", "it"), root) for root in roots]
    try:
        for _ in reached(named, lambda each: named_by(*each), value_of=itemgetter(1)):
            pass
    except (Impure, TooMuch) as why:
        return str(why)
    return ""


def named_by(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """What *value*, which code calls *name*, names in turn. Raises: Impure."""
    if isinstance(value, enum.Enum):
        return [(name, type(value))]
    if isinstance(value, _PLAIN):
        return ()
    if isinstance(value, (tuple, frozenset)):
        return [(name, item) for item in value]
    if isinstance(value, _MUTABLE):
        raise Impure(f"it uses {name}, a {type(value).__name__} that may change")
    if isinstance(value, ModuleType):
        raise Impure(f"it uses the module {value.__name__} as a whole")
    if callable(value):
        return _of_callable(name, value)
    return _of_object(name, value)


def _of_callable(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, MethodType):
        return [(name, value.__func__), (name, value.__self__)]
    if isinstance(value, partial):
        return [(name, each) for each in (value.func, *value.args, *value.keywords.values())]
    owner = getattr(value, "__self__", None) if isinstance(value, _BUILT_IN) else None
    if owner is not None and not isinstance(owner, ModuleType):
        # A method of a class that is written in C, or of an object of one.
        _check_library(name, module_of(owner if isinstance(owner, type) else type(owner)), value.__name__)
        return () if isinstance(owner, type) else [(name, owner)]
    if isinstance(value, (FunctionType, type)) and not is_of_library(value):
        return _of_function(value) if isinstance(value, FunctionType) else _of_class(value)
    if isinstance(value, (FunctionType, type, *_BUILT_IN)):
        _check_library(name, module_of(value), getattr(value, "__name__", name))
        return ()
    return _of_object(name, value)


def _of_object(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """An object that is there before the call: nobody knows who changes it, unless it is one that cannot be."""
    cls = type(value)
    module = module_of(cls)
    top = _top(module)
    if module.startswith(SESSIONS):
        raise Impure(f"it uses {name}, which reads a database by itself")
    if top in CONSTANT or isinstance(value, (GenericAlias, UnionType)):
        return ()
    if isinstance(value, _lru_cache_wrapper):
        raise Impure(f"it uses {name}, which keeps what it has answered, and that may change")
    if isinstance(value, (range, slice, property, staticmethod, classmethod)) or top == "functools":
        parts = (getattr(value, part, None) for part in ("fget", "__func__", "__wrapped__", "func", "dispatcher"))
        return [(name, part) for part in parts if part is not None]
    if _is_frozen(cls):
        return [(name, cls), *((name, getattr(value, field, None)) for field in _fields(cls))]
    raise Impure(f"it uses {name}, a {cls.__name__} that may change")


def _is_frozen(cls: type) -> bool:
    config = getattr(cls, "__struct_config__", None)
    parameters = getattr(cls, "__dataclass_params__", None)
    return bool(config is not None and config.frozen) or bool(parameters is not None and parameters.frozen)


def _fields(cls: Any) -> tuple[str, ...]:
    names: Iterable[str] = getattr(cls, "__struct_fields__", ()) or getattr(cls, "__dataclass_fields__", ())
    return tuple(names)


def _of_class(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class of the app has, for its code and whoever has an object of it; what a model says of its rows is SQL,
    and looked at as such."""
    if hasattr(cls, "__mapper__") or hasattr(cls, "metadata"):
        return
    yield from ((base.__name__, base) for base in (*cls.__bases__, type(cls)))
    for name, member in vars(cls).items():
        is_left_out = name.startswith("__rows") or (name in ("__hash__", "__repr__") and _is_generated(member))
        parts = [] if is_left_out else list(_of_member(name, member))
        if parts and is_attribute_written(cls, name):
            raise Impure(f"it uses {cls.__name__}.{name}, which other code changes")
        yield from ((f"{cls.__name__}.{name}", part) for part in parts)
    if issubclass(cls, enum.Enum):
        yield from ((f"{cls.__name__}.{member.name}", member.value) for member in cls)
    for field in _factories(cls):
        yield f"a default of {cls.__name__}", field


def _is_generated(member: Any) -> bool:
    """Whether `dataclasses` or attrs has written it."""
    function = inspect.unwrap(member) if callable(member) else None
    return isinstance(function, FunctionType) and function.__code__.co_filename.startswith("<")


def _of_member(name: str, member: Any) -> Iterator[Any]:
    kind = type(member)
    if hasattr(kind, "__get__"):
        if isinstance(member, (FunctionType, staticmethod, classmethod, property)) or kind.__module__ == "functools":
            yield member
        elif not is_library(kind.__module__):
            yield kind
    elif not name.endswith("_") and name not in _MACHINERY:
        yield member


_MACHINERY = frozenset({"_abc_impl", "_field_defaults", "model_config"})
"""What `abc`, `NamedTuple` and pydantic write into a class, beside what ends with `_`."""


def _factories(cls: Any) -> Iterator[Any]:
    for default in getattr(cls, "__struct_defaults__", ()):
        factory = getattr(default, "factory", None)
        if factory is not None and factory not in _MUTABLE:
            yield factory
    for field in getattr(cls, "__dataclass_fields__", {}).values():
        if callable(field.default_factory) and field.default_factory not in _MUTABLE:
            yield field.default_factory
    for field in getattr(cls, "__pydantic_fields__", {}).values():
        if field.default_factory not in (None, *_MUTABLE):
            yield field.default_factory


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    written = written_in(function.__globals__)
    for code in codes_of(function.__code__):
        yield from _named_in(code, function, written)
    if function.__closure__ is not None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
            if name in written.enclosed:
                raise Impure(f"it uses {name}, which other code changes")
            try:
                value = cell.cell_contents
            except ValueError:  # Empty: a name that is given its value later.
                raise Impure(f"it uses {name}, which has no value yet") from None
            yield name, value
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "a default", default


def _named_in(code: CodeType, function: FunctionType, written: Written) -> Iterator[tuple[str, Any]]:
    steps = list(dis.get_instructions(code))
    own = written_by(code)
    for name in (*own.names, *(own.enclosed & {*function.__code__.co_freevars})):
        raise Impure(f"it changes {name}, which outlives the call")
    for target, attribute in own.attributes:
        raise Impure(f"it changes {'.'.join(target) or 'a class'}.{attribute}, which outlives the call")
    for at, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = step.argval
            if name in written.names or is_attribute_written(function.__globals__, name):
                raise Impure(f"it uses {name}, which other code changes")
            value = function.__globals__.get(name, vars(builtins).get(name))
            yield from _reached(name, value, steps, at)
            yield from _hybrids_of(value, code)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval in CLOCKS:
            raise Impure(f"it uses {step.argval}, which answers otherwise each time")
        elif step.opname == "IMPORT_NAME":
            yield from _imported(step.argval, steps[at - 1].argval or ())
    if "getattr" in code.co_names and not CLOCKS.isdisjoint(filter(_is_text, code.co_consts)):
        raise Impure("it uses getattr for what answers otherwise each time")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _imported(module_name: str, names: Any) -> Iterator[tuple[str, Any]]:
    module = sys.modules.get(module_name)
    if module is None or _top(module_name) not in LIBRARIES:
        raise Impure(f"it imports {module_name or 'something'} while it runs")
    if not isinstance(names, tuple) or not names:
        raise Impure(f"it imports {module_name} while it runs")
    for name in names:
        _check_library(name, module_name, name)
        yield name, getattr(module, name, None)


def _reached(name: str, value: Any, steps: list[Any], at: int) -> Iterator[tuple[str, Any]]:
    """What a name stands for, with the attributes that follow it where it is a module or a class."""
    while at + 1 < len(steps) and steps[at + 1].opname in ("LOAD_ATTR", "LOAD_METHOD"):
        attribute = steps[at + 1].argval
        if isinstance(value, FunctionType) and attribute in vars(value):
            raise Impure(f"it uses {name}.{attribute}, which may change")
        if not isinstance(value, (ModuleType, type)):
            break
        if isinstance(value, ModuleType):
            if _top(value.__name__) in sys.stdlib_module_names and _top(value.__name__) not in LIBRARIES:
                raise Impure(f"it uses {name}.{attribute}")
            _check_library(f"{name}.{attribute}", value.__name__, attribute)
        elif module_of(value) == "datetime" and attribute in MOVING["datetime"]:
            raise Impure(f"it uses {name}.{attribute}, which answers otherwise each time")
        elif is_of_library(value):
            break
        if _is_written(value, attribute):
            raise Impure(f"it uses {name}.{attribute}, which other code changes")
        at, name = at + 1, f"{name}.{attribute}"
        yield from ((name, owner) for owner in _who_answers(value, attribute))
        if not hasattr(value, attribute):
            break
        value = getattr(value, attribute)
    yield name, value


def _is_written(owner: ModuleType | type, attribute: str) -> bool:
    if isinstance(owner, ModuleType):
        if is_library(owner.__name__):
            return False
        return attribute in written_in(vars(owner)).names or is_attribute_written(vars(owner), attribute)
    return is_attribute_written(owner, attribute)


def _hybrids_of(value: Any, code: CodeType) -> Iterator[tuple[str, Any]]:
    """The functions behind those attributes of a model that are made anew each time they are asked for, as far as
    *code* names them, of the model itself or of an alias."""
    if not hasattr(value, "__mapper__"):
        return
    for name in code.co_names:
        found = next((vars(base)[name] for base in value.__mro__ if name in vars(base)), None)
        if module_of(type(found)) == "sqlalchemy.ext.hybrid":
            parts = (getattr(found, part, None) for part in ("fget", "expr", "func"))
            yield from ((f"{value.__name__}.{name}", part) for part in parts if part is not None)


def _who_answers(owner: ModuleType | type, attribute: str) -> Iterator[Any]:
    """Whose code runs when *attribute* of *owner* is asked for: a descriptor's, that of a class's class, or what a
    module has for names that it does not have."""
    if isinstance(owner, ModuleType):
        if attribute not in vars(owner) and "__getattr__" in vars(owner) and not is_library(owner.__name__):
            yield vars(owner)["__getattr__"]
        return
    found = next((vars(base)[attribute] for base in owner.__mro__ if attribute in vars(base)), None)
    asked = type(owner) if found is None else type(found)
    if hasattr(asked, "__get__") or found is None:
        yield asked


def _check_library(name: str, module: str, attribute: str) -> None:
    """Raises: Impure where what is called so may answer otherwise each time."""
    top = _top(module)
    if attribute in MOVING.get(top, ()) or (top in STILL and attribute not in STILL[top]):
        raise Impure(f"it uses {name}, which answers otherwise each time")
    if top not in LIBRARIES and is_library(module):
        raise Impure(f"it uses {name}, and nobody knows what {top} reads")


def module_of(thing: Any) -> str:
    return getattr(thing, "__module__", None) or type(thing).__module__ or ""


def _top(module: str) -> str:
    return module.partition(".")[0]
