"""What goes out of a format comes back the same, for every type that the format can carry."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import KINDS, Card, Cash, Dish, Flat, Order, Station
from msgspec import Struct

from toque.codecs.codec import CODECS
from toque.codecs.multipart import multipart_reader
from toque.contract.conversion import convert
from toque.contract.errors import Invalid, NotFound, Problem

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)
dates = st.dates()
dishes = st.builds(Dish, texts, decimals, st.booleans())
orders = st.builds(
    Order,
    id=st.uuids(),
    table=st.integers(-(2**63), 2**63 - 1),
    placed_at=moments,
    served_on=st.none() | dates,
    note=st.none() | texts,
    weight=floats,
    station=st.sampled_from(Station),
    size=st.sampled_from(["small", "large"]),
    photo=st.binary(max_size=12),
    dishes=st.lists(dishes, max_size=3),
    tags=st.dictionaries(texts, st.integers(-9, 9), max_size=3),
    payment=st.builds(Cash, decimals) | st.builds(Card, texts),
)
flats = st.builds(
    Flat,
    id=st.uuids(),
    table=st.integers(-(10**18), 10**18),
    placed_at=moments,
    on=dates,
    price=decimals,
    weight=floats,
    station=st.sampled_from(Station),
    size=st.sampled_from(["small", "large"]),
    photo=st.binary(max_size=12),
    note=texts,
    spicy=st.booleans(),
    seats=st.none() | st.integers(0, 9),
    dish=dishes,
)


def there_and_back(name: str, tp: Any, value: Any) -> Any:
    encode, decode = CODECS[name].encoder(tp), CODECS[name].decoder(tp)
    assert encode is not None
    assert decode is not None
    return decode(encode(value))


@pytest.mark.parametrize("name", ["json", "msgpack"])
@given(order=orders)
@settings(max_examples=60, deadline=None)
def test_a_rich_object_comes_back_the_same(name: str, order: Order) -> None:
    assert there_and_back(name, Order, order) == order


@pytest.mark.parametrize("name", ["json", "msgpack", "ndjson"])
@given(rows=st.lists(orders, max_size=3))
@settings(max_examples=25, deadline=None)
def test_a_list_of_rich_objects_comes_back_the_same(name: str, rows: list[Order]) -> None:
    assert there_and_back(name, list[Order], rows) == rows


@pytest.mark.parametrize("name", ["json", "msgpack", "form", "csv"])
@given(row=flats)
@settings(max_examples=60, deadline=None)
def test_a_flat_object_comes_back_the_same(name: str, row: Flat) -> None:
    assert there_and_back(name, Flat, row) == row


@given(rows=st.lists(flats, max_size=4))
@settings(max_examples=40, deadline=None)
def test_csv_rows_come_back_the_same(rows: list[Flat]) -> None:
    assert there_and_back("csv", list[Flat], rows) == rows


@pytest.mark.parametrize("name", ["json", "msgpack", "form", "csv"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_model_goes_in_and_out(name: str, kind: Any) -> None:
    value = kind(table=4, on=date(2026, 11, 23), note="no onions")

    assert there_and_back(name, kind, value) == value


@pytest.mark.parametrize("name", ["json", "msgpack"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_model_stands_inside_a_struct(name: str, kind: Any) -> None:
    outer = msgspec.defstruct("Outer", [("inner", list[kind]), ("maybe", kind | None, None)])
    value = outer(inner=[kind(table=4, on=date(2026, 11, 23), note="")])

    assert there_and_back(name, outer, value) == value


@pytest.mark.parametrize("name", ["json", "ndjson", "csv"])
@given(rows=st.lists(flats, max_size=3))
@settings(max_examples=20, deadline=None)
def test_a_stream_of_items_reads_as_the_list_of_them(name: str, rows: list[Flat]) -> None:
    stream, decode = CODECS[name].stream_encoder(Flat), CODECS[name].decoder(list[Flat])
    assert stream is not None
    assert decode is not None

    body = stream.head + stream.separator.join(map(stream.item, rows)) + stream.tail

    assert decode(body) == rows


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_has_no_timestamp_travels_as_text(moment: str) -> None:
    codec = CODECS["msgpack"]
    encode, decode = codec.encoder(datetime), codec.decoder(datetime)
    assert encode is not None
    assert decode is not None

    assert decode(encode(datetime.fromisoformat(moment))) == datetime.fromisoformat(moment)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bits_travels_as_text_where_there_is_no_number_for_it(number: int) -> None:
    """JSON brings such ones, and whoever wanted MessagePack back was told that the app had failed."""
    encode = CODECS["msgpack"].encoder(dict[str, Any])
    assert encode is not None

    packed = encode({"largest": 2**64 - 1, "more": [number, b"x"], "by": {number: True}})

    assert msgspec.msgpack.decode(packed) == {
        "largest": 2**64 - 1,
        "more": [str(number), b"x"],
        "by": {str(number): True},
    }


def test_json_encodes_by_msgspec_itself() -> None:
    encode = CODECS["json"].encoder(Order)

    assert isinstance(getattr(encode, "__self__", None), msgspec.json.Encoder)


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_a_problem_has_its_extensions_beside_its_own_members(name: str) -> None:
    problem = NotFound("no such dish", dish=4, status=1).problem("trace")
    encode = CODECS[name].encoder(Problem)
    assert encode is not None

    decoded = {"json": msgspec.json.decode, "msgpack": msgspec.msgpack.decode}[name](encode(problem))

    assert (decoded["dish"], decoded["status"], decoded["code"]) == (4, 404, "not_found")
    assert "extra" not in decoded
    assert CODECS[name].problem_media_type == f"application/problem+{name}"


@pytest.mark.parametrize(
    ("name", "tp"),
    [
        ("ndjson", Flat),
        ("form", Order),
        ("form", list[Flat]),
        ("form", int),
        ("csv", Order),
        ("csv", list[int]),
        ("csv", list[Order]),
        ("multipart", Flat),
    ],
)
def test_a_format_offers_nothing_that_it_cannot_carry(name: str, tp: Any) -> None:
    assert CODECS[name].encoder(tp) is None


class Course(Struct):
    dish: int
    extras: list[int] = []


class Menu(Struct):
    courses: list[Course]


def test_a_fault_has_the_same_path_in_every_format() -> None:
    # In a form it was `$.courses.1.dish` or `$.courses[1].dish`, by what was wrong, and `[...]` for a list's items.
    wrong = {"courses": [{"dish": 1}, {"dish": "x", "extras": [1, "y"]}]}
    bodies = {"json": msgspec.json.encode(wrong), "form": b"courses.3.dish=x&courses.3.extras=1&courses.3.extras=y"}
    bodies["form"] += b"&courses.0.dish=1"
    paths = {}
    for name, body in bodies.items():
        read = CODECS[name].decoder(Menu)
        assert read is not None
        with pytest.raises(Invalid) as caught:
            read(body)
        paths[name] = [fault.path for fault in caught.value.faults]

    assert paths["form"] == paths["json"] == ["$.courses[1].dish", "$.courses[1].extras[1]"]


class Lunch(Struct, tag=1):
    dish: str


class Dinner(Struct, tag=2):
    guests: int


class Booking(Struct):
    meal: Lunch | Dinner


@pytest.mark.parametrize(
    ("name", "tp", "body", "value"),
    [
        ("form", Lunch | Dinner, b"type=2&guests=4", Dinner(4)),
        ("form", Booking, b"meal.type=1&meal.dish=soup", Booking(Lunch("soup"))),
        ("form", Lunch, b"type=1&dish=soup", Lunch("soup")),
        ("csv", Lunch, b"type,dish\r\n1,soup\r\n", Lunch("soup")),
    ],
)
def test_a_tag_may_be_a_number_where_there_are_only_texts(name: str, tp: Any, body: bytes, value: Any) -> None:
    read = CODECS[name].decoder(tp)
    assert read is not None

    assert read(body) == value
    with pytest.raises(Invalid) as caught:
        read(body.replace(b"1", b"7").replace(b"=2", b"=7"))
    assert [fault.path.rpartition(".")[2] for fault in caught.value.faults] == ["type"]


class Tables(pydantic.RootModel[list[int]]):
    """A model that has no names on the wire."""


class Row(pydantic.BaseModel):
    tables: Tables


@pytest.mark.parametrize("tp", [Tables, Row])
def test_a_root_model_has_no_names_and_so_is_no_form_and_no_table(tp: Any) -> None:
    # They were offered under the name of its Python attribute, `root=4`, and whatever came so was refused.
    value = tp.model_validate([4] if tp is Tables else {"tables": [4]})

    assert [name for name in CODECS if CODECS[name].decoder(tp)] == ["json", "msgpack"]
    assert [name for name in CODECS if CODECS[name].encoder(tp)] == ["json", "msgpack"]
    assert there_and_back("json", tp, value) == there_and_back("msgpack", tp, value) == value
    assert multipart_reader(tp) is None


EMPTY_CELLS = b"photo,password,homepage,coded,address\r\n,x,,,\r\n"


class Login(pydantic.BaseModel):
    """Values that pydantic reads from text in a way of its own."""

    photo: bytes
    password: pydantic.SecretStr
    homepage: pydantic.HttpUrl | None = None
    coded: pydantic.Base64Bytes = b""
    address: IPv4Address = IPv4Address("127.0.0.1")


@pytest.mark.parametrize("name", ["form", "csv"])
def test_a_pydantic_model_reads_the_same_from_a_text_in_every_format(name: str) -> None:
    # Bytes were base64 in forms and text in JSON; a form with a password or a URL was not taken at all.
    texts = {"photo": "aGk=", "password": "x", "homepage": "https://a.example/", "coded": "aGk=", "address": "10.0.0.1"}
    body = {"form": urlencode(texts), "csv": f"{','.join(texts)}\r\n{','.join(texts.values())}\r\n"}[name].encode()
    read, read_json = CODECS[name].decoder(Login), CODECS["json"].decoder(Login)
    assert read is not None
    assert read_json is not None

    assert read(body) == read_json(msgspec.json.encode(texts))
    assert read(body).photo == b"aGk="


@pytest.mark.parametrize(("name", "body"), [("form", b"photo=&password=&homepage=&coded="), ("csv", EMPTY_CELLS)])
def test_what_a_pydantic_model_reads_from_text_may_be_empty_and_what_may_be_none_is_none(
    name: str, body: bytes
) -> None:
    read = CODECS[name].decoder(Login)
    assert read is not None

    login = read(body)

    assert (login.photo, login.homepage, login.coded) == (b"", None, b"")
    assert login.address == IPv4Address("127.0.0.1")


class Priced(pydantic.BaseModel):
    """A model that writes other names than it reads."""

    dish: str = pydantic.Field(alias="name")
    cost: int = pydantic.Field(serialization_alias="price")
    stock: int = pydantic.Field(1, validation_alias="left")
    margin: int = pydantic.Field(3, exclude=True)

    @pydantic.computed_field
    def total(self) -> int:
        return self.cost * self.stock


def test_every_format_writes_what_a_pydantic_model_writes_under_its_names() -> None:
    # CSV and forms had the names that are read: an empty cell for a field that has two, and no computed ones.
    line = Priced.model_validate({"name": "soup", "cost": 2, "left": 3})
    written = {name: CODECS[name].encoder(Priced) for name in ("json", "csv", "form")}
    read = CODECS["form"].decoder(Priced)

    assert {name: encode(line) for name, encode in written.items() if encode} == {
        "json": b'{"name":"soup","price":2,"stock":3,"total":6}',
        "csv": b"name,price,stock,total\r\nsoup,2,3,6\r\n",
        "form": b"name=soup&price=2&stock=3&total=6",
    }
    assert read is not None
    assert read(b"name=soup&cost=2&left=3") == line


def test_a_float_that_is_not_finite_leaves_json_as_null_and_text_as_nothing() -> None:
    value = Flat(
        UUID(int=1),
        1,
        datetime(2026, 1, 1, tzinfo=UTC),
        date(2026, 1, 1),
        Decimal(1),
        float("nan"),
        Station.COLD,
        "small",
        b"",
        "",
        False,
        None,
        Dish("", Decimal(1)),
    )
    by_name = {name: CODECS[name].encoder(Flat) for name in ("json", "form", "csv")}

    assert b'"weight":null' in by_name["json"](value)
    assert b"weight=&" in by_name["form"](value)
    assert b"nan" not in by_name["csv"](value)


@pytest.mark.parametrize("body", [b"dish;table\r\nsoup;4\r\n", b"dsh,table\r\nsoup,4\r\n", b"dish\r\nsoup\r\n"])
def test_a_csv_without_a_column_that_every_row_has_is_refused(body: bytes) -> None:
    """A spreadsheet of half of Europe parts by semicolons: its rows were taken, all of them with empty texts."""

    class Line(msgspec.Struct):
        dish: str
        table: int | None
        note: str = ""

    decode = CODECS["csv"].decoder(list[Line])
    assert decode is not None

    with pytest.raises(Invalid, match="also the column"):
        decode(body)
    assert decode(b"table,dish\r\n,\r\n") == [Line("", None)]
    assert decode(b"") == []


@given(text=st.sampled_from(["=1+1", "+1", "-1", "@A1", "\tx", "'=1", "''@", "＝1", "'x"]))
def test_a_text_that_begins_like_a_formula_is_disarmed_and_comes_back(text: str) -> None:
    class Note(msgspec.Struct):
        text: str
        count: int = -5

    encode, decode = CODECS["csv"].encoder(Note), CODECS["csv"].decoder(Note)
    body = encode(Note(text))

    assert decode(body) == Note(text)
    assert b",-5" in body
    cell = convert(body.decode().splitlines()[1].strip('"'), str)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "＝"))
