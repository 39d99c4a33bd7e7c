"""Wrong set-ups: each is refused at start with a name and a remedy, and all of them are said at once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
from msgspec import Meta, Struct

from toque.app import App
from toque.call.delivery import Delivery
from toque.codecs.file import File
from toque.contract.access import authenticated, predicate, public, role
from toque.contract.complaints import Complaint, SetupError
from toque.contract.errors import NotFound
from toque.contract.module import Module
from toque.contract.operation import Header, InBody, InQuery
from toque.settings import Settings, load
from toque.settings.tree import App as AppSettings
from toque.settings.tree import Http
from toque.store.database import Database


class Loose(Struct):
    """One that a function may change."""

    limit: int = 10


class Clock:
    """A resource."""


class Cloak:
    """What nobody offers, though its name is near."""


@dataclass
class Size:
    width: int
    height: int


@dataclass
class Box:
    id: int
    size: Size


def complaints_of(app: App, settings: Settings | None = None) -> list[Complaint]:
    with pytest.raises(SetupError) as caught:
        app.serve(settings or Settings())
    for complaint in caught.value.complaints:
        assert complaint.remedy, f"no remedy: {complaint}"
        assert str(complaint) in str(caught.value)
    return list(caught.value.complaints)


def only_complaint_of(app: App, settings: Settings | None = None) -> str:
    complaints = complaints_of(app, settings)
    assert len(complaints) == 1, [str(complaint) for complaint in complaints]
    return str(complaints[0])


def kitchen() -> App:
    return App("kitchen")


def test_everything_that_is_wrong_is_said_at_once() -> None:
    app = kitchen()
    app.static("/files", "nowhere")

    @app.query("/a")
    async def undecided(first: Cloak, second, third: int) -> Box: ...  # type: ignore[no-untyped-def]

    @app.query("/a", allow=public, page="missing.html")
    async def shown(fourth: Cloak) -> None: ...

    settings = Settings(http=Http(cors_origins=("*",), cors_credentials=True))

    text = "\n".join(map(str, complaints_of(app, settings)))

    for part in (
        "nowhere",
        "missing.html",
        "cors_credentials",
        "GET /a",
        "nobody said who may call it",
        "'first'",
        "'second' has no type",
        "'fourth'",
    ):
        assert part in text
    assert "'third'" not in text


def test_an_operation_that_nobody_opened_or_closed_is_named() -> None:
    app = kitchen()

    @app.query("/boxes")
    async def list_boxes() -> list[Box]: ...

    text = only_complaint_of(app)

    assert "kitchen.list_boxes" in text
    assert "add allow=public" in text
    assert f"{__file__}:" in text


# What there is twice.


def test_a_decorator_without_its_brackets_is_told_what_it_wants() -> None:
    app = App("bare")

    for declare in (app.query, app.command):
        with pytest.raises(TypeError, match=r"an operation says who may call it: @(query|command)\(allow="):

            @declare  # type: ignore[call-overload, arg-type, type-var]
            async def hello() -> str:
                return "hello"


def test_two_operations_of_one_name_are_refused() -> None:
    app = kitchen()

    @app.query("/one", allow=public, name="same")
    async def one() -> int: ...

    @app.query("/two", allow=public, name="same")
    async def two() -> int: ...

    assert "kitchen.same: 2 operations have this name" in only_complaint_of(app)


@pytest.mark.parametrize("other", ["/boxes/{id}", "/boxes/{key}"])
def test_two_operations_at_one_path_are_refused_whatever_they_call_its_parameter(other: str) -> None:
    app = kitchen()

    @app.query("/boxes/{id}", allow=public)
    async def first(id: int) -> int: ...

    @app.query(other, allow=public)
    async def second(id: int = 0, key: int = 0) -> int: ...

    text = only_complaint_of(app)

    assert "GET /boxes/{}" in text
    assert "kitchen.first, kitchen.second share this path" in text


def test_two_methods_at_one_path_are_fine() -> None:
    app = kitchen()

    @app.query("/boxes/{id}", allow=public)
    async def first(id: int) -> int: ...

    @app.command("/boxes/{id}", allow=public, method="PUT")
    async def second(id: int) -> int: ...

    app.serve(Settings())


def test_a_module_that_is_included_twice_is_one_complaint() -> None:
    module = Module("shelf")

    @module.query("/boxes", allow=public)
    async def list_boxes() -> list[Box]: ...

    app = App("kitchen", modules=[module, module])

    assert "module shelf: it is included 2 times" in only_complaint_of(app)


def test_what_is_no_module_is_refused_where_it_is_included() -> None:
    app = App("kitchen")

    with pytest.raises(TypeError, match=r"kitchen includes modules, made by Module\(\.\.\.\); got 3"):
        app.include(3)  # type: ignore[arg-type]


def test_a_key_file_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    app = App("kitchen", settings=load(tmp_path, {"TOQUE_AUTH_KEY_FILE": "k.pem", "TOQUE_AUTH_AUDIENCE": "shop"}, {}))

    @app.query("/boxes", allow=authenticated)
    async def list_boxes() -> list[Box]: ...

    with pytest.raises(SetupError) as refused:
        app.serve()

    assert [complaint.subject for complaint in refused.value.complaints] == ["auth.key_file"]


def test_two_folders_at_one_path_are_refused(tmp_path: Path) -> None:
    app = kitchen()
    app.static("/files", tmp_path)
    app.static("/files/", tmp_path)

    assert only_complaint_of(app).startswith("/files: 2 folders or apps")


def test_a_folder_and_an_app_are_mounted_at_a_path() -> None:
    # Without its slash nothing would ever be found there.
    with pytest.raises(ValueError, match="a path starts with '/', got 'files'"):
        kitchen().static("files", "nowhere")
    with pytest.raises(ValueError, match="a path starts with '/', got 'legacy'"):
        Module("old", prefix="/old").mount("legacy", print)


def test_json_rpc_s_own_place_is_not_an_operation_s() -> None:
    app = kitchen()

    @app.command("/rpc", allow=public)
    async def mine() -> None: ...

    assert "/rpc is JSON-RPC's own" in only_complaint_of(app)


# Inputs.


def test_an_unknown_resource_type_is_refused_with_the_nearest_name() -> None:
    app = kitchen()
    app.resource()(make_clock)

    @app.query(allow=public)
    async def now(clock: Cloak) -> int: ...

    text = only_complaint_of(app)

    assert "parameter 'clock' can be neither an input nor a resource" in text
    assert "did you mean the resource Clock?" in text


def test_an_unknown_type_without_a_near_name_can_be_offered() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def now(session: Whatever) -> int: ...

    assert "offer it with @app.resource()" in only_complaint_of(app)


def test_a_limit_that_nothing_checks_is_refused_with_the_way_to_check_it() -> None:
    app = kitchen()

    @app.command(allow=public)
    async def price(of: Annotated[Decimal, Meta(gt=0)]) -> None: ...

    text = only_complaint_of(app)

    assert "compare others in __post_init__" in text
    assert "resource()" not in text


def test_a_parameter_without_a_type_is_refused() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def untyped(what) -> int: ...  # type: ignore[no-untyped-def]

    assert "parameter 'what' has no type" in only_complaint_of(app)


def test_parameters_that_take_anything_are_refused() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def greedy(*names: str, **more: str) -> int: ...

    first, second = complaints_of(app)

    assert "*names: 'str' cannot be filled" in str(first)
    assert "**more: 'str' cannot be filled" in str(second)


def test_a_type_that_is_there_for_type_checkers_only_is_refused() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def late(value: NotImported) -> int: ...  # type: ignore[name-defined]  # noqa: F821

    text = only_complaint_of(app)

    assert "the type 'NotImported' cannot be found" in text
    assert "not only for type checking" in text


def test_a_name_in_the_path_without_a_parameter_is_refused_with_the_nearest() -> None:
    app = kitchen()

    @app.query("/boxes/{box_id}/{page}", allow=public)
    async def look(boxid: int) -> int: ...

    near, far = complaints_of(app)[0], complaints_of(app)[-1]

    assert "names {box_id}, which is no parameter" in str(near)
    assert "did you mean {boxid}?" in str(near)
    assert far.subject == "kitchen.look"


@pytest.mark.parametrize("tp", [Box, list[int], dict[str, int]])
def test_a_structured_path_parameter_is_refused(tp: Any) -> None:
    app = kitchen()

    async def look(box: Any) -> int: ...

    look.__annotations__["box"] = tp
    app.query("/boxes/{box}", allow=public)(look)

    assert "path parameter 'box' has a structured type" in only_complaint_of(app)


@pytest.mark.parametrize(("tp", "default"), [(list[str], ["hot"]), (Loose, Loose())])
def test_a_default_that_a_call_could_change_for_all_others_is_refused(tp: Any, default: Any) -> None:
    """msgspec's own TypeError ended the start, and named neither the operation nor the parameter."""
    app = kitchen()

    async def search(wanted: Any = default) -> int: ...

    search.__annotations__["wanted"] = tp
    app.query("/search", allow=public)(search)

    assert "parameter 'wanted' has a default that can be changed" in only_complaint_of(app)


@pytest.mark.parametrize(("name", "value"), [("reads", Box), ("errors", NotFound)])
def test_what_is_to_be_a_list_and_is_none_is_refused(name: str, value: Any) -> None:
    """`reads=Dish` was a bare TypeError."""
    app = kitchen()

    async def look(db: Database) -> int: ...

    app.query("/boxes", allow=public, **{name: value})(look)

    assert f"put it in brackets: {name}=[{value.__name__}]" in only_complaint_of(app)


def test_what_is_read_is_a_model() -> None:
    app = kitchen()

    @app.query("/boxes", allow=public, reads=[Box])
    async def look(db: Database) -> int: ...

    assert "which is no model" in only_complaint_of(app)


@pytest.mark.parametrize(
    "tp",
    [Box, dict[str, int], Size | None, File, Annotated[dict[str, int], Header("x-sizes")]],
    ids=["a nested object", "a dict", "an optional object", "a file", "a header of many"],
)
def test_an_input_that_no_text_can_stand_for_is_refused_outside_a_body(tp: Any) -> None:
    app = kitchen()

    async def search(what: Any) -> int: ...

    search.__annotations__["what"] = tp
    app.query("/search", allow=public)(search)

    text = only_complaint_of(app)

    assert "parameter 'what': no text can stand for" in text
    assert "take it from the body" in text


def test_an_input_that_only_json_can_carry_is_fine_without_a_path() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def search(box: Box) -> int: ...

    app.serve(Settings())


def test_a_flat_object_is_fine_as_a_query_string() -> None:
    app = kitchen()

    @app.query("/search", allow=public)
    async def search(size: Size) -> int: ...

    app.serve(Settings())


def test_a_streamed_body_leaves_no_room_for_other_inputs() -> None:
    app = kitchen()

    @app.command("/upload", allow=public)
    async def upload(content: AsyncIterator[bytes], other: AsyncIterator[bytes], name: str) -> None: ...

    text = only_complaint_of(app)

    assert "'content' takes the whole body, and 'other', 'name' would come from it too" in text
    assert "InQuery" in text


def test_a_streamed_body_goes_with_inputs_from_elsewhere() -> None:
    app = kitchen()

    @app.command("/upload/{kind}", allow=public)
    async def upload(
        kind: str,
        content: AsyncIterator[bytes],
        name: Annotated[str, InQuery()],
        mime: Annotated[str, Header("x-mime")],
    ) -> None: ...

    app.serve(Settings())


def test_a_query_may_ask_for_a_body() -> None:
    app = kitchen()

    @app.query("/search", allow=public)
    async def search(box: Annotated[Box, InBody()]) -> int: ...

    app.serve(Settings())


@pytest.mark.parametrize("others", [{"pair": tuple[File, str]}, {"photo": File, "sides": tuple[int, str]}])
def test_a_file_beside_what_no_form_carries_is_refused(others: dict[str, Any]) -> None:
    app = kitchen()

    async def take(**inputs: Any) -> None: ...

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=tp) for name, tp in others.items()]
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    take.__annotations__ = {**others, "return": None}
    app.command("/boxes", allow=public)(take)

    assert "its body holds a file beside what no form carries" in only_complaint_of(app)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/boxes/{id", "segment '{id' is not {name}"),
        ("/boxes/{}", "segment '{}' is not {name}"),
        ("/boxes/id-{id}", "segment 'id-{id}' is not {name}"),
        ("/boxes/{*}", "segment '{*}' is not {name}"),
        ("/boxes?{id}", "is not {name}"),
        ("/big boxes/{id}", "holds what a path cannot"),
        ("/{id}/{id}", "names {id} 2 times"),
    ],
)
def test_a_path_that_cannot_be_matched_is_refused(path: str, problem: str) -> None:
    app = kitchen()

    @app.query(path, allow=public)
    async def look(id: int) -> int: ...

    assert any(problem in str(complaint) for complaint in complaints_of(app))


# Outputs.


@pytest.mark.parametrize("tp", [object, Cloak, list[Cloak], dict[int, Cloak], Iterator[int]])
def test_an_output_that_no_format_carries_is_refused(tp: Any) -> None:
    app = kitchen()

    async def give() -> Any: ...

    give.__annotations__["return"] = tp
    app.query(allow=public)(give)

    assert "the output cannot leave" in only_complaint_of(app)


@pytest.mark.parametrize("tp", [File, list[File], AsyncIterator[File]])
def test_a_file_does_not_leave(tp: Any) -> None:
    app = kitchen()

    async def give() -> Any:
        yield

    async def give_whole() -> Any: ...

    function = give if tp == AsyncIterator[File] else give_whole
    function.__annotations__["return"] = tp
    app.query("/photo", allow=public)(function)

    text = only_complaint_of(app)

    assert "it answers a file, which no format carries" in text
    assert "media_type=" in text


def test_an_output_without_a_type_is_refused() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def give():  # type: ignore[no-untyped-def]
        ...

    assert "the output has no type" in only_complaint_of(app)


def test_a_resource_never_leaves() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def give(db: Database) -> Database: ...

    assert "the output is the resource Database" in only_complaint_of(app)


@attrs.define
class Till:
    _cents: int
    name: str = "till"


def test_a_private_field_of_an_attrs_class_neither_enters_nor_leaves() -> None:
    """A caller had to give `_cents`, which is `cents` wherever a till is made, and it never came back."""
    app = kitchen()

    @app.command("/tills", allow=public)
    async def count(till: Till) -> list[Till]: ...

    entering, leaving = map(str, complaints_of(app))

    assert "parameter 'till'" in entering
    assert "Till._cents is private" in entering
    assert "the output cannot leave: Till._cents is private" in leaving


@dataclass
class Bill:
    table: int
    is_paid: bool = field(default=False, init=False)


@attrs.define
class Tab:
    table: int
    is_paid: bool = attrs.field(default=False, init=False)


@pytest.mark.parametrize("tp", [Bill, Tab, list[Bill], Bill | None])
def test_a_field_that_nobody_gives_is_not_for_callers_either(tp: Any) -> None:
    """Whoever sent `{"table": 4, "is_paid": true}` had a bill that was paid."""
    app = kitchen()

    async def write(bill: Any) -> Bill: ...

    write.__annotations__["bill"] = tp
    app.command("/bills", allow=public)(write)

    assert "is_paid is not for who makes one (init=False)" in only_complaint_of(app)


def test_a_field_that_nobody_gives_leaves_and_is_kept_with_a_job() -> None:
    app = kitchen()

    @app.query("/bills", allow=public)
    async def show() -> Bill: ...

    @app.job()
    async def collect(bill: Bill) -> None: ...

    app.serve(Settings())


def test_a_model_neither_enters_nor_leaves() -> None:
    from sqlalchemy import Integer
    from sqlalchemy.orm import DeclarativeBase, mapped_column

    class Base(DeclarativeBase):
        pass

    class Crate(Base):
        __tablename__ = "crate_of_test_system"
        id = mapped_column(Integer, primary_key=True)

    app = kitchen()

    @app.command("/crates", allow=public)
    async def keep(crate: Crate) -> list[Crate]: ...

    entering, leaving = map(str, complaints_of(app))

    assert "Crate is a database model" in entering
    assert "parameter 'crate'" in entering
    assert "the output cannot leave" in leaving
    assert "class CrateView(Struct)" in leaving


@pytest.mark.parametrize("is_streamed", [False, True])
def test_bytes_need_their_media_type(is_streamed: bool) -> None:
    app = kitchen()

    async def whole() -> bytes: ...

    async def parts() -> AsyncIterator[bytes]:
        yield b""

    app.query("/picture", allow=public)(parts if is_streamed else whole)

    assert "add media_type=" in only_complaint_of(app)


def test_a_command_may_answer_bytes_too() -> None:
    app = kitchen()

    @app.command("/print", allow=public, media_type="application/pdf")
    async def printed() -> bytes: ...

    app.serve(Settings())


def test_a_media_type_is_for_bytes_only() -> None:
    app = kitchen()

    @app.query("/boxes", allow=public, media_type="application/xml")
    async def boxes() -> list[Box]: ...

    assert "callers choose the format" in only_complaint_of(app)


def test_a_stream_comes_from_a_function_that_yields() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def returned() -> AsyncIterator[int]: ...

    @app.query(allow=public)
    def plain() -> AsyncIterator[int]: ...

    for complaint in complaints_of(app):
        assert "the function yields nothing" in str(complaint)


def test_a_function_that_yields_answers_a_stream() -> None:
    app = kitchen()

    @app.query(allow=public)
    async def listed() -> list[int]:  # type: ignore[misc]
        yield 1

    @app.query(allow=public)
    def plain() -> Iterator[int]:
        yield 1

    for complaint in complaints_of(app):
        assert "AsyncIterator" in str(complaint)


def test_a_page_shows_no_stream(tmp_path: Path) -> None:
    app = kitchen()
    app.folder = tmp_path
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "numbers.html").write_text("")

    @app.query("/numbers", allow=public, page="numbers.html")
    async def numbers() -> AsyncIterator[int]:
        yield 1

    assert "a page shows one answer" in only_complaint_of(app)


def test_a_missing_template_is_named_with_the_nearest(tmp_path: Path) -> None:
    app = kitchen()
    app.folder = tmp_path
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "numbers.html").write_text("")

    @app.query("/numbers", allow=public, page="number.html")
    async def numbers() -> list[int]: ...

    assert "did you mean 'numbers.html'?" in only_complaint_of(app)


@pytest.mark.parametrize("status", [100, 302, 404, 0])
def test_the_status_of_success_is_one_of_success(status: int) -> None:
    app = kitchen()

    @app.command("/boxes", allow=public, status=status)
    async def keep() -> Box: ...

    assert f"status {status} is not one of success" in only_complaint_of(app)


def test_no_content_and_an_answer_do_not_go_together() -> None:
    app = kitchen()

    @app.command("/boxes", allow=public, status=204)
    async def keep() -> Box: ...

    assert "status 204 has no content" in only_complaint_of(app)


@pytest.mark.parametrize(("output", "hint"), [(Box, "did you mean {id}?"), (None, "its fields are: none")])
def test_a_location_is_made_of_the_answer_s_fields(output: Any, hint: str) -> None:
    app = kitchen()

    async def keep() -> Any: ...

    keep.__annotations__["return"] = output
    app.command("/boxes", allow=public, location="/boxes/{idd}")(keep)

    text = only_complaint_of(app)

    assert "location= names {idd}, which is no field of the answer" in text
    assert hint in text


def test_errors_are_toque_s() -> None:
    app = kitchen()

    @app.query("/boxes", allow=public, errors=[ValueError])  # type: ignore[list-item]
    async def boxes() -> list[Box]: ...

    assert "list subclasses of toque.Error" in only_complaint_of(app)


@pytest.mark.parametrize("limit", [{"deadline_s": 0}, {"deadline_s": -1}, {"body_bytes_max": 0}])
def test_a_limit_leaves_room_for_something(limit: dict[str, Any]) -> None:
    app = kitchen()

    @app.command("/boxes", allow=public, **limit)
    async def keep() -> None: ...

    assert "choose more than nothing" in only_complaint_of(app)


# Access.


def test_a_rule_that_reads_an_unknown_input_is_refused_with_the_nearest() -> None:
    app = kitchen()

    @app.query("/boxes/{id}", allow=role("cook") & predicate(lambda principal, idd: True))
    async def look(id: int) -> Box: ...

    text = only_complaint_of(app)

    assert "its access rule reads idd, which is no input" in text
    assert "did you mean id?" in text


def test_a_rule_that_waits_is_refused_because_a_coroutine_is_always_true() -> None:
    async def may(principal: object) -> bool:
        return False

    with pytest.raises(TypeError, match="plain `def`"):
        predicate(may)  # type: ignore[arg-type]


def test_an_open_door_for_every_page_and_its_cookies_is_refused() -> None:
    settings = Settings(http=Http(cors_origins=("*",), cors_credentials=True))

    assert "http.cors_origins" in only_complaint_of(kitchen(), settings)


def test_production_asks_for_hosts_and_keys() -> None:
    app = kitchen()

    @app.query("/boxes", allow=role("cook"))
    async def boxes() -> list[Box]: ...

    with pytest.raises(SetupError) as caught:
        app.serve(Settings(app=AppSettings(environment="production")))

    assert {complaint.subject for complaint in caught.value.complaints} == {"http.hosts", "auth.key"}


# Resources.


def make_clock() -> Clock:
    return Clock()


class Whatever:
    pass


class Egg:
    pass


class Hen:
    pass


def test_resources_that_need_one_another_are_refused() -> None:
    app = kitchen()

    @app.resource()
    def hatch(egg: Egg) -> Hen: ...

    @app.resource()
    def lay(hen: Hen) -> Egg: ...

    assert [complaint.subject for complaint in complaints_of(app)] == ["resource Hen", "resource Egg"]


def test_an_app_s_resource_cannot_be_made_of_a_call_s() -> None:
    app = kitchen()

    @app.resource(lifetime="call")
    def lay() -> Egg: ...

    @app.resource()
    def hatch(egg: Egg, db: Database) -> Hen: ...

    egg, db = map(str, complaints_of(app))

    assert "lives as long as the app but needs Egg" in egg
    assert "lives as long as the app but needs Database" in db


def test_a_resource_that_needs_what_nobody_makes_hears_the_nearest_name() -> None:
    app = kitchen()
    app.resource()(make_clock)

    @app.resource()
    def hatch(clock: Cloak) -> Hen: ...

    text = only_complaint_of(app)

    assert "resource Hen: it needs clock: Cloak, which nothing makes" in text
    assert "did you mean Clock?" in text


def test_one_type_has_one_recipe() -> None:
    app = kitchen()
    app.resource()(make_clock)
    app.resource()(make_clock)

    assert "resource Clock is offered twice" in only_complaint_of(app)


def test_a_recipe_says_what_it_makes() -> None:
    app = kitchen()

    @app.resource()
    def nothing() -> None: ...

    assert "must say which class it makes" in only_complaint_of(app)


def test_a_plain_function_cannot_wait_for_the_database_not_even_through_another_resource() -> None:
    app = kitchen()

    @app.resource(lifetime="call")
    def hatch(db: Database) -> Hen: ...

    @app.query("/boxes", allow=public)
    def boxes(hen: Hen) -> list[Box]: ...

    assert "a plain `def` cannot wait for Database" in only_complaint_of(app)


def test_nothing_is_delivered_to_what_is_called() -> None:
    app = kitchen()

    @app.command("/boxes", allow=public)
    async def pack(delivery: Delivery) -> None: ...

    @app.job()
    async def ship(delivery: Delivery) -> None: ...

    found = only_complaint_of(app)
    assert "kitchen.pack: it is called, and nothing is delivered to it" in found
    assert "ask for Delivery in a handler, a job or a step" in found


def test_a_seed_has_nobody_to_give_it_inputs() -> None:
    app = kitchen()

    @app.seed
    async def fill(count: int, db: Database) -> None: ...

    assert "nobody gives a seed its input 'count'" in only_complaint_of(app)


def test_a_seed_may_have_an_operation_s_name() -> None:
    app = kitchen()

    @app.seed
    async def fill() -> None: ...

    @app.command(allow=public, name="fill")
    async def fill_again() -> None: ...

    system = app.serve(Settings()).system

    assert list(system.plans) == ["kitchen.fill"]
    assert system.plans["kitchen.fill"].operation.function is fill_again
    assert [seed.operation.function for seed in system.seeds] == [fill]
    assert list(system.figures) == ["kitchen.fill"]


def test_a_bad_folder_is_named() -> None:
    app = kitchen()
    app.static("/files", "nowhere")

    text = only_complaint_of(app)

    assert "static files /files: there is no folder" in text
    assert "nowhere" in text


# Paths below a module's prefix.


def test_a_module_s_prefix_may_be_an_operation_s_whole_path() -> None:
    module = Module("shelf", prefix="/boxes")

    @module.query("", allow=public)
    async def list_boxes() -> list[Box]: ...

    @module.query("/{id}", allow=public)
    async def look(id: int) -> Box: ...

    assert [operation.path for operation in module.operations] == ["/boxes", "/boxes/{id}"]
    App("kitchen", modules=[module]).serve(Settings())


@pytest.mark.parametrize(("prefix", "path"), [("", ""), ("", "boxes"), ("/boxes", "{id}")])
def test_a_path_begins_with_a_slash(prefix: str, path: str) -> None:
    with pytest.raises(ValueError, match="starts with '/'"):
        Module("shelf", prefix=prefix).query(path, allow=public)
