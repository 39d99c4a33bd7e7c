"""The OpenAPI document: valid, complete, and true to what the app answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
import schemathesis
from msgspec import Meta, Struct
from servers import granian_serving

from toque.app import App
from toque.codecs.file import File
from toque.contract.access import authenticated, public, role
from toque.contract.errors import Error, NotFound
from toque.contract.module import Module
from toque.contract.operation import Header
from toque.contract.principal import Principal
from toque.settings import App as AppSettings
from toque.settings import Auth, Http, Secret, Settings
from toque.testing.harness import Harness, running

WAITER = Principal(subject="ana", roles=frozenset({"waiter"}))


class Status(StrEnum):
    PLACED = "placed"
    COOKING = "cooking"


class Line(Struct):
    dish_id: Annotated[int, Meta(ge=1, le=1000)]
    quantity: Annotated[int, Meta(ge=1, le=20)] = 1


class NewOrder(Struct):
    table: Annotated[int, Meta(ge=1, le=40, description="Its number.")]
    items: Annotated[list[Line], Meta(min_length=1, max_length=5)]
    note: str | None = None


class OrderView(Struct):
    id: UUID
    table: int
    items: list[Line]
    note: str | None = None


class Filter(Struct):
    status: Status | None = None
    tables: list[int] = []


class Photo(Struct):
    image: File
    title: str = ""


class SoldOutTonight(Error, code="sold_out_tonight", http=409, title="The dish is sold out"): ...


def make_app() -> App:
    app = App("bistro", version="1.2.3", description="A **bistro**.")
    kitchen = Module("kitchen", prefix="/kitchen")
    app.include(kitchen)
    orders: dict[UUID, OrderView] = {}

    @app.query("/menu", allow=public)
    async def menu(vegetarian: bool | None = None, station: Annotated[str, Header("X-Station")] = "hot") -> list[Line]:
        """What can be ordered."""
        return [Line(1)]

    @app.query("/orders", allow=role("waiter"))
    async def list_orders(filter: Filter) -> list[OrderView]:
        return list(orders.values())

    @app.query("/orders/{id}", allow=role("waiter"), is_deprecated=True)
    async def get_order(id: UUID) -> OrderView:
        if id not in orders:
            raise NotFound("there is no such order")
        return orders[id]

    @app.command("/orders", allow=role("waiter"), status=201, location="/orders/{id}", errors=[SoldOutTonight])
    async def place(new: NewOrder) -> OrderView:
        made = OrderView(uuid4(), new.table, new.items, new.note)
        orders[made.id] = made
        return made

    @app.command("/orders/{key}", method="DELETE", allow=role("waiter"))
    async def discard(key: UUID) -> None:
        orders.pop(key, None)

    @kitchen.command("/orders/{id}/status", allow=public)
    async def move(id: UUID, status: Status, by: str = "cook") -> Status:
        return status

    @kitchen.command("/photos", allow=public)
    async def photo(photo: Photo) -> int:
        return photo.image.size_bytes

    @kitchen.command("/films", method="PUT", allow=public)
    async def film(content: AsyncIterator[bytes]) -> int:
        return sum([len(chunk) async for chunk in content])

    @kitchen.query("/tickets", allow=public)
    async def tickets() -> AsyncIterator[OrderView]:
        for order in list(orders.values()):
            yield order

    @kitchen.query(allow=authenticated)
    async def load() -> dict[str, int]:
        """How busy each station is."""
        return {"hot": 1}

    return app


APP = make_app()


@pytest.fixture
async def app() -> AsyncIterator[Harness]:
    async with running(APP) as harness:
        yield harness


@pytest.fixture
async def document(app: Harness) -> Any:
    return (await app.get("/openapi.json")).json()


def parameters(document: Any, path: str, method: str = "get") -> dict[str, Any]:
    return {one["name"]: one for one in document["paths"][path][method]["parameters"]}


async def test_the_document_is_valid(document: Any) -> None:
    schemathesis.openapi.from_dict(document).validate()

    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "bistro"
    assert document["info"]["version"] == "1.2.3"


async def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    for reference in references(document):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][kind]


async def test_every_operation_with_a_path_stands_there_and_the_others_are_named(document: Any) -> None:
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]

    assert set(names) == {
        "bistro.menu", "bistro.list_orders", "bistro.get_order", "bistro.place", "bistro.discard",
        "kitchen.move", "kitchen.photo", "kitchen.film", "kitchen.tickets",
    }  # fmt: skip
    assert [one["name"] for one in document["x-toque-operations"]] == ["kitchen.load"]
    assert [tag["name"] for tag in document["tags"]] == ["bistro", "kitchen"]


async def test_one_path_has_one_template_whatever_its_operations_call_its_parameter(document: Any) -> None:
    (path,) = (path for path in document["paths"] if path.startswith("/orders/"))

    assert document["paths"][path].keys() == {"get", "delete"}
    for method in ("get", "delete"):
        (name,) = parameters(document, path, method)
        assert f"{{{name}}}" in path


async def test_plain_inputs_are_parameters_and_no_text_is_null(document: Any) -> None:
    found = parameters(document, "/menu")

    assert (found["vegetarian"]["in"], found["vegetarian"]["required"]) == ("query", False)
    assert found["vegetarian"]["schema"] == {"type": "boolean"}
    assert (found["x-station"]["in"], found["x-station"]["schema"]["default"]) == ("header", "hot")


async def test_a_structured_input_of_a_query_is_one_parameter_a_field(document: Any) -> None:
    assert parameters(document, "/orders").keys() == {"status", "tables"}


async def test_a_body_stands_in_every_format_that_can_be_described_and_names_the_others(
    document: Any,
) -> None:
    whole = document["paths"]["/orders"]["post"]["requestBody"]
    members = document["paths"]["/kitchen/orders/{id}/status"]["post"]["requestBody"]

    assert whole["required"]
    assert whole["content"].keys() == {"application/json", "application/msgpack"}
    assert "application/x-www-form-urlencoded" in whole["description"]
    assert whole["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/NewOrder"}
    assert "application/x-www-form-urlencoded" in members["content"]
    schema = members["content"]["application/json"]["schema"]
    assert schema["required"] == ["status"]
    assert schema["properties"]["by"]["default"] == "cook"


async def test_files_come_as_multipart_and_streams_as_bytes(document: Any) -> None:
    photo = document["paths"]["/kitchen/photos"]["post"]["requestBody"]
    film = document["paths"]["/kitchen/films"]["put"]["requestBody"]

    assert photo["content"].keys() == {"multipart/form-data"}
    assert film["content"] == {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


async def test_success_has_its_status_its_formats_and_its_location(document: Any) -> None:
    place = document["paths"]["/orders"]["post"]["responses"]["201"]
    discard = next(path for path in document["paths"] if path.startswith("/orders/"))
    tickets = document["paths"]["/kitchen/tickets"]["get"]["responses"]["200"]["content"]

    assert place["content"].keys() >= {"application/json", "application/msgpack"}
    assert place["headers"]["Location"]["required"]
    assert "content" not in document["paths"][discard]["delete"]["responses"]["204"]
    assert tickets["application/x-ndjson"]["schema"]["type"] == "array"


async def test_failures_are_problem_documents_named_by_their_codes(document: Any) -> None:
    responses = document["paths"]["/orders"]["post"]["responses"]

    assert {
        "400",
        "401",
        "403",
        "406",
        "408",
        "409",
        "413",
        "415",
        "422",
        "503",
        "504",
        "default",
    } <= responses.keys()
    conflict = document["components"]["responses"][responses["409"]["$ref"].split("/")[-1]]
    assert "`sold_out_tonight`" in conflict["description"]
    assert conflict["content"].keys() == {"application/problem+json", "application/problem+msgpack"}
    assert conflict["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


async def test_who_may_call_is_said_in_words_and_as_a_scheme(document: Any) -> None:
    place, menu = document["paths"]["/orders"]["post"], document["paths"]["/menu"]["get"]

    assert place["security"] == [{"bearer": []}]
    assert place["description"].endswith("For role waiter.")
    assert menu["security"] == []


async def test_what_is_deprecated_says_so(document: Any) -> None:
    path = next(path for path in document["paths"] if path.startswith("/orders/"))

    assert document["paths"][path]["get"]["deprecated"] is True
    assert "deprecated" not in document["paths"][path]["delete"]


async def test_the_document_is_kept_by_whoever_has_it(app: Harness) -> None:
    first = await app.get("/openapi.json")
    again = await app.get("/openapi.json", headers={"if-none-match": first.headers.get("etag")})
    packed = await app.get("/openapi.json", headers={"accept-encoding": "gzip"})
    refused = await app.get("/openapi.json", headers={"if-match": '"other"'})

    assert first.headers.get("content-type") == "application/json"
    assert (again.status, again.content) == (304, b"")
    assert packed.headers.get("content-encoding") == "gzip"
    assert packed.headers.get("etag") != first.headers.get("etag")
    assert refused.json()["code"] == "precondition_failed"


async def test_production_shows_neither_document_nor_page_unless_asked_to() -> None:
    auth = Auth(key=Secret("k" * 32), audience=("bistro",))
    strict = Settings(app=AppSettings(environment="production"), auth=auth, http=Http(hosts=("*",)))
    asked = Settings(app=strict.app, auth=strict.auth, http=Http(hosts=("*",), docs=True))

    async with running(APP, settings=strict) as harness:
        assert [(await harness.get(path)).status for path in ("/openapi.json", "/docs")] == [404, 404]
    async with running(APP, settings=asked) as harness:
        assert [(await harness.get(path)).status for path in ("/openapi.json", "/docs")] == [200, 200]


# The page made of it.


async def test_the_page_and_all_it_loads_come_from_us_and_nothing_in_it_is_inline(app: Harness) -> None:
    assets = Path(__file__).parents[2] / "src/toque/console/assets"
    page = await app.get("/docs")

    assert page.headers.get("content-type") == "text/html; charset=utf-8"
    assert "'unsafe" not in page.headers.get("content-security-policy")
    assert "<style" not in page.text
    assert " style=" not in page.text
    assert page.text.count("<script") == page.text.count('<script type="module" src="docs/')
    for file in assets.iterdir():
        loaded = await app.get(f"/docs/{file.name}")
        assert loaded.status == 200
        assert "https://" not in loaded.text.replace("https://example.com/", "")


# What the app does is what the document says.


CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "ignored_auth",
    ]
)


async def test_no_answer_is_undeclared_and_none_is_a_failure_of_ours(app: Harness, tmp_path: Path) -> None:
    """schemathesis calls every operation with what the document allows and with what it forbids."""
    async with granian_serving(app.serving.edge) as address:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", f"http://{address}/openapi.json",
            "--header", f"Authorization: Bearer {app.token(WAITER)}", "--checks", CHECKS,
            "--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--no-color",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()
    assert "9 selected / 9 total" in said.decode()
