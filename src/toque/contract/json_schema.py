"""The JSON Schema of types, with the components that they share.

Sources: the JSON Schema that msgspec and pydantic make; JSON Schema 2020-12 for `$ref` and `$defs`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from toque.contract.schema import is_pydantic
from toque.contract.text_formats import say_formats

__all__ = ["json_schema"]

_REFS = "#/components/schemas/{name}"


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
        schema, parts = _both_ways(model, _REFS.format(name=name + ".{model}"))
        components |= {f"{name}.{inner}": part for inner, part in parts.items()}
        components[name] = schema
    say_formats(tps, schemas, components)
    return list(schemas), dict(sorted(components.items()))


def _both_ways(model: Any, refs: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema that a pydantic model is read by, and those of its parts, each with what only leaves, computed
    fields and names of its own, as `readOnly`."""
    read, left = (model.model_json_schema(ref_template=refs, mode=mode) for mode in ("validation", "serialization"))
    parts, left_parts = read.pop("$defs", {}), left.pop("$defs", {})
    for schema, more in [(read, left), *((part, left_parts.get(name, {})) for name, part in parts.items())]:
        taken = schema.get("properties", {})
        only = {
            name: {**field, "readOnly": True} for name, field in more.get("properties", {}).items() if name not in taken
        }
        if only:
            schema["properties"] = taken | only
    return read, left_parts | parts


def _component_name(model: Any, models: list[Any], known: Mapping[str, Any]) -> str:
    is_alone = [one.__name__ for one in models].count(model.__name__) == 1 and model.__name__ not in known
    name = model.__name__ if is_alone else f"{model.__module__}.{model.__qualname__}"
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
