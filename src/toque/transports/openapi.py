"""The manifest as an OpenAPI 3.1 document.

Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12; RFC 9457 for the failures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from toque.codecs.codec import CODECS
from toque.contract.idempotency import KEY_LENGTH_MAX
from toque.contract.manifest import ErrorEntry, InputEntry, Manifest, OperationEntry
from toque.contract.signature import Place, path_names
from toque.contract.text import INT_DIGITS_MAX
from toque.transports.replies import EVENTS

__all__ = ["openapi"]

Json = dict[str, Any]

REF = "#/components/{kind}/{name}"

GENERAL = """
Every call has a deadline, which the request header `X-Timeout-Ms` shortens. Answers come in the format that
`Accept` prefers; failures are problem documents (RFC 9457) with a stable `code`. Every operation also answers
by its name as JSON-RPC 2.0, at `POST /rpc` and over the WebSocket `/ws`.
"""

IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this request: under one name it is done once, and its answer is given again for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
}

LAST_EVENT_ID: Json = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "With `text/event-stream`: the state that the client has. An equal one is not sent again.",
    "schema": {"type": "string"},
}

FORM = "application/x-www-form-urlencoded"

FOLLOWED = (
    "Server-sent events: the answer now, as JSON in `data` with its ETag as `id`, and again whenever it changes. "
    "An event `end` has a problem document, and is the last."
)

LARGEST = 10**INT_DIGITS_MAX - 1

PROBLEM_TYPES = [codec.problem_media_type for codec in CODECS.values() if codec.problem_media_type]


def openapi(manifest: Manifest, root: str = "") -> Json:
    """Describe every operation that has a path; those without stand in `x-toque-operations`.

    Args:
        root: the path where the app is mounted.
    """
    paths: Json = {}
    responses: Json = {}
    templates = _Templates()
    for entry in manifest.operations:
        if entry.path is not None:
            template, names = templates.of(entry.path)
            described = _operation(entry, names, manifest.schemas, responses)
            paths.setdefault(template, {})[entry.method.lower()] = described
    content = {media_type: {"schema": manifest.problem} for media_type in PROBLEM_TYPES}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": manifest.name,
            "version": manifest.version,
            "description": f"{manifest.description}\n{GENERAL}".strip(),
        },
        **({"servers": [{"url": quote(root)}]} if root else {}),
        "tags": [{"name": tag} for tag in sorted({tag for entry in manifest.operations for tag in entry.tags})],
        "paths": paths,
        "components": {
            "schemas": manifest.schemas,
            "responses": {name: {**response, "content": content} for name, response in sorted(responses.items())},
            "securitySchemes": _schemes(manifest),
        },
        "x-toque-operations": [_unplaced(entry) for entry in manifest.operations if entry.path is None],
    }


class _Templates:
    """One template a shape: OpenAPI takes `/orders/{id}` and `/orders/{key}` for the same path."""

    def __init__(self) -> None:
        self._by_shape: dict[str, str] = {}

    def of(self, path: str) -> tuple[str, Mapping[str, str]]:
        """The template for *path*, and what it calls the parameters of *path*."""
        template = self._by_shape.setdefault(re.sub(r"\{[^}]*\}", "{}", path), path)
        return template, dict(zip(path_names(path), path_names(template), strict=True))


def _operation(entry: OperationEntry, names: Mapping[str, str], schemas: Json, responses: Json) -> Json:
    described = {
        **_about(entry),
        "operationId": entry.name,
        "parameters": [
            *(parameter for found in entry.inputs for parameter in _parameters(found, names, schemas)),
            *([IDEMPOTENCY_KEY] if entry.is_idempotent else []),
            *([LAST_EVENT_ID] if EVENTS in entry.gives else []),
        ],
        "requestBody": _request_body(entry, schemas),
        "responses": _responses(entry, responses),
        "security": _security(entry),
    }
    return {key: value for key, value in described.items() if value is not None}


def _about(entry: OperationEntry) -> Json:
    who = f"For {entry.access.words}."
    return {
        "summary": entry.summary,
        "description": f"{entry.description}\n\n{who}".strip(),
        "tags": list(entry.tags),
        "deprecated": entry.is_deprecated or None,
        "x-toque": {
            "kind": entry.kind,
            "access": entry.access.words,
            "is_public": entry.access.is_public,
            "roles": list(entry.access.roles),
            "scopes": list(entry.access.scopes),
            "deadline_s": entry.deadline_s,
            "body_bytes_max": entry.body_bytes_max or None,
            "takes": [_bare(media_type) for media_type in entry.takes],
            "inputs": [
                {
                    "name": found.name,
                    "place": found.place,
                    "required": found.is_required,
                    "schema": _with_default(found),
                }
                for found in entry.inputs
            ],
        },
    }


def _unplaced(entry: OperationEntry) -> Json:
    output = None if entry.output is None else entry.output.schema
    return {"name": entry.name, **_about(entry), "output": output}


def _schemes(manifest: Manifest) -> Json:
    schemes: Json = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    if any(entry.access.webhooks for entry in manifest.operations):
        # OpenAPI has no word for a signature; the header that carries it is the nearest.
        about = "Standard Webhooks 1.0, with webhook-id and webhook-timestamp"
        schemes["webhook"] = {"type": "apiKey", "in": "header", "name": "webhook-signature", "description": about}
    return schemes


def _security(entry: OperationEntry) -> list[Json]:
    if entry.access.webhooks:
        return [{"webhook": []}, *([{"bearer": []}] if entry.access.takes_tokens else [])]
    if not entry.access.is_public:
        return [{"bearer": []}]
    return [{}, {"bearer": []}] if entry.reads_credential else []


def _parameters(found: InputEntry, names: Mapping[str, str], schemas: Json) -> Iterator[Json]:
    place = Place(found.place)
    if place is Place.PATH:
        yield _parameter(names[found.name], "path", found.schema, is_required=True)
    elif place is Place.HEADER:
        yield _parameter(found.wire_name, "header", _with_default(found), is_required=found.is_required)
    elif place is Place.QUERY:
        yield from _query_parameters(found, schemas)


def _query_parameters(found: InputEntry, schemas: Json) -> Iterator[Json]:
    """A structured input is spread: each of its fields is a parameter."""
    shape = _resolved(found.schema, schemas)
    if "properties" not in shape:
        yield _parameter(found.wire_name, "query", _with_default(found), is_required=found.is_required)
        return
    for name, schema in shape["properties"].items():
        is_required = found.is_required and name in shape.get("required", ())
        yield _parameter(name, "query", schema, is_required=is_required)


def _parameter(name: str, place: str, schema: Json, *, is_required: bool) -> Json:
    schema = _as_text(schema)
    described = {"name": name, "in": place, "required": is_required, "schema": schema}
    if description := schema.get("description"):
        described["description"] = description
    return described


def _as_text(schema: Json) -> Json:
    """*schema* of what a text can say: no null, and no integer longer than is read."""
    if schema.get("type") == "integer":
        return {"minimum": -LARGEST, "maximum": LARGEST, **schema}
    if "items" in schema:
        return {**schema, "items": _as_text(schema["items"])}
    arms = [arm for arm in schema.get("anyOf", ()) if arm.get("type") != "null"]
    if len(arms) == len(schema.get("anyOf", ())):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**rest, **_as_text(arms[0])} if len(arms) == 1 else {**rest, "anyOf": [*map(_as_text, arms)]}


def _with_default(found: InputEntry) -> Json:
    return found.schema if found.default is None else {**found.schema, "default": found.default}


def _request_body(entry: OperationEntry, schemas: Json) -> Json | None:
    """The body in the formats that OpenAPI can describe; the others are named.

    It has no words for lines and tables, and leaves open how a form nests (4.8.15).
    """
    carried = [found for found in entry.inputs if found.place in (Place.BODY, Place.MEMBER, Place.UPLOAD)]
    if not carried:
        return None
    if carried[0].place == Place.MEMBER:
        schema: Json = {
            "type": "object",
            "properties": {found.wire_name: _with_default(found) for found in carried},
            "required": [found.wire_name for found in carried if found.is_required],
        }
    else:
        schema = carried[0].schema
    described = [media_type for media_type in entry.takes if _describes(_bare(media_type), schema, schemas)]
    others = ", ".join(_bare(media_type) for media_type in entry.takes if media_type not in described)
    body: Json = {
        # What streams in may be nothing at all.
        "required": any(found.is_required and found.place != Place.UPLOAD for found in carried),
        "content": {
            _bare(media_type): {"schema": _form(schema, schemas) if _bare(media_type) == FORM else schema}
            for media_type in described
        },
    }
    return {"description": f"Also taken: {others}.", **body} if others else body


def _describes(media_type: str, schema: Json, schemas: Json) -> bool:
    if media_type != FORM:
        return media_type not in ("text/csv", "application/x-ndjson")
    fields = _resolved(schema, schemas).get("properties", {}).values()
    return bool(fields) and all(_is_plain(field, schemas) for field in fields)


def _form(schema: Json, schemas: Json) -> Json:
    """*schema* of an object that comes as a form: what is missing is an empty list or null, and a list may be one
    value."""
    shape = _resolved(schema, schemas)
    texts = {name: _as_text(field) for name, field in shape["properties"].items()}
    return {
        **shape,
        "properties": {
            name: {"anyOf": [text, text["items"]]} if "items" in text else text for name, text in texts.items()
        },
        "required": [
            name
            for name in shape.get("required", ())
            if "items" not in texts[name] and not _is_nullable(shape["properties"][name])
        ],
    }


def _is_nullable(schema: Json) -> bool:
    return any(arm.get("type") == "null" for arm in schema.get("anyOf", ()))


def _is_plain(schema: Json, schemas: Json) -> bool:
    """Whether *schema* is of one value, or a list of them."""
    found = _resolved(schema, schemas)
    parts = [*found.get("anyOf", ()), *([found["items"]] if isinstance(found.get("items"), dict) else ())]
    return found.get("type") != "object" and all(_is_plain(part, schemas) for part in parts)


def _resolved(schema: Json, schemas: Json) -> Json:
    shape: Json = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return shape


def _responses(entry: OperationEntry, shared: Json) -> Json:
    success: Json = {"description": entry.summary}
    if entry.gives:
        success["content"] = {_bare(one): {"schema": _answer(entry, one)} for one in entry.gives}
    if entry.location is not None:
        found = {"description": f"Where it is found: `{entry.location}`", "schema": {"type": "string"}}
        success["headers"] = {"Location": {**found, "required": True}}
    return {str(entry.status): success, **dict(_failures(entry.errors, shared))}


def _answer(entry: OperationEntry, media_type: str) -> Json:
    """The schema of an answer in *media_type*; of a stream, that of all its items."""
    if media_type == EVENTS:
        return {"type": "string", "description": FOLLOWED}
    if entry.output is None or media_type.startswith("text/"):
        return {"type": "string"}
    if entry.output.is_stream and not entry.output.is_binary:
        return {"type": "array", "items": entry.output.schema}
    return entry.output.schema


def _failures(errors: Iterable[ErrorEntry], shared: Json) -> Iterator[tuple[str, Json]]:
    """One response a status, named after its codes; what the app itself fails with is `default`."""
    by_status: dict[str, list[ErrorEntry]] = {}
    for error in errors:
        status = "default" if error.code == "internal" else str(error.http)
        by_status.setdefault(status, []).append(error)
    for status, found in sorted(by_status.items()):
        name = "_or_".join(error.code for error in found)
        description = "; ".join(f"{error.title} (`{error.code}`)" for error in found)
        shared[name] = {"description": description}
        yield status, {"$ref": REF.format(kind="responses", name=name)}


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip()
