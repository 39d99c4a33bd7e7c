"""Hostile bytes get a defined answer in every format: an error that the caller hears, never a crash."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import KINDS, Flat, Order
from msgspec import Struct

from toque.codecs import csv, form
from toque.codecs.codec import CODECS
from toque.codecs.depth import DEPTH_MAX
from toque.contract.errors import Error, Invalid, Malformed, TooLarge
from toque.contract.views import shaper

COLLIDING = [i * (2**61 - 1) for i in range(1, 3_000)]
"""Numbers of one hash."""


class Priced(Struct):
    price: Decimal = Decimal(0)
    weight: float = 0.0
    anything: Any = None


class Keyed(Struct):
    keys: set[UUID] = set()
    prices: dict[Decimal, int] = {}
    numbers: set[int] = set()


class Loose(Struct):
    table: int = 0


class Tree(Struct):
    value: int = 0
    child: Tree | None = None
    kids: list[Tree] = []


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels - 1):
        value = {"child": value}
    return value


def decode(name: str, tp: Any, body: bytes) -> Any:
    read = CODECS[name].decoder(tp)
    assert read is not None
    return read(body)


@pytest.mark.parametrize(
    ("name", "tp", "body", "error"),
    [
        ("json", Priced, b"", Malformed),
        ("json", Priced, b"{", Malformed),
        ("msgpack", Any, b"\x81\x91\x01\x02", Invalid),
        ("msgpack", Any, b"\x81\xc4\x01x\x02", Invalid),
        ("msgpack", Any, b"\x91\x81\xc0\x02", Invalid),
        ("json", Priced, b'{"anything":' + b"[" * 100_000, Malformed),
        ("json", Priced, b'{"unknown":' + b"[" * 100_000, Malformed),
        ("json", Priced, b'{"weight": NaN}', Malformed),
        ("json", Priced, b'{"weight": 1e999}', Invalid),
        ("json", Priced, b'{"weight": ' + b"9" * 5_000 + b"}", Invalid),
        ("json", Priced, b'{"anything": ' + b"9" * 5_000 + b"}", Invalid),
        ("json", Priced, b'{"price": "1e999999999"}', Invalid),
        ("json", Priced, b'{"price": "1\\u0065999999999"}', Invalid),
        ("json", Priced, b'{"price": "1e_9_9_9_9_9"}', Invalid),
        ("json", Priced, '{"price": "1e٩٩٩٩٩"}'.encode(), Invalid),
        ("json", Priced, b'{"price": "N_aN"}', Invalid),
        ("json", Priced, b'{"price": "-Infinity"}', Invalid),
        ("json", Priced, b'{"price": "' + b"9" * 100_000 + b'"}', Invalid),
        ("json", Priced, b'{"anything": "\xff"}', Malformed),
        ("json", Priced, b'{"anything": "\\ud800"}', Malformed),
        ("json", Priced, b'{"\xff": 1}', Malformed),
        ("json", Keyed, msgspec.json.encode({"numbers": COLLIDING}), Invalid),
        ("json", Keyed, msgspec.json.encode({"keys": [str(UUID(int=one)) for one in COLLIDING]}), Invalid),
        ("json", Keyed, msgspec.json.encode({"prices": {str(one): 1 for one in COLLIDING}}), Invalid),
        ("ndjson", list[Priced], b'{"weight":1}\n{"weight":NaN}\n', Malformed),
        ("ndjson", list[Priced], b"[" * 100_000, Error),
        ("ndjson", list[Flat], b'{"table":"x"}\n', Invalid),
        ("msgpack", Priced, b"", Malformed),
        ("msgpack", Priced, b"\x81\xa8anything" + b"\x91" * 100_000, Malformed),
        ("msgpack", Priced, b"\xdf\xff\xff\xff\xff", Malformed),
        ("msgpack", list[int], b"\xdd\xff\xff\xff\xff", Malformed),
        ("msgpack", Priced, b"\x81\xa8anything\xdb\xff\xff\xff\xffabc", Malformed),
        ("msgpack", Priced, b"\x81\xa8anything\xc7\x01\x05x", Malformed),
        ("msgpack", Priced, b"\x81\xa8anything\xa1\xff", Malformed),
        ("msgpack", Priced, b"\x80\x80", Malformed),
        ("msgpack", Priced, msgspec.msgpack.encode({"weight": float("nan")}), Invalid),
        ("msgpack", Priced, msgspec.msgpack.encode({"anything": [float("inf")]}), Invalid),
        ("msgpack", Priced, b"\x81\xa8anything\xca\x7f\x80\x00\x00", Invalid),
        ("msgpack", Priced, msgspec.msgpack.encode({"price": "1e999999999"}), Invalid),
        (
            "msgpack",
            Keyed,
            msgspec.msgpack.encode({"keys": [str(UUID(int=one)) for one in COLLIDING]}),
            Invalid,
        ),
        ("msgpack", Priced, msgspec.msgpack.encode({"anything": {(i, i): 1 for i in range(5_000)}}), Invalid),
        ("form", Flat, b"table=\xff", Malformed),
        ("form", Flat, b"table=%ff", Malformed),
        ("form", Flat, b"table=1&table=2", Invalid),
        ("form", Flat, b"table.x=1&table=2", Invalid),
        ("form", Flat, b"table=2&table.x=1", Invalid),
        ("form", Flat, b".".join([b"a"] * 10_000) + b"=1", Invalid),
        ("form", Flat, b"&".join([b"a=1"] * (form.FIELDS_MAX + 1)), TooLarge),
        ("form", Flat, b"weight=nan&price=1e999999", Invalid),
        ("csv", list[Flat], b"\xff\xfe", Malformed),
        ("csv", list[Flat], b'table\n"1', Malformed),
        ("csv", list[Flat], b"table,table\n1,2\n", Malformed),
        ("csv", list[Flat], b"table\n1,2\n", Invalid),
        ("csv", list[Flat], b"table\nx\n", Invalid),
        ("csv", list[Flat], b",".join(b"c%d" % i for i in range(csv.COLUMNS_MAX + 1)), TooLarge),
        ("csv", list[Flat], b"table\n" + b"9" * 200_000 + b"\n", Malformed),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_hostile_bytes_are_refused(name: str, tp: Any, body: bytes, error: type[Error]) -> None:
    with pytest.raises(error) as caught:
        decode(name, tp, body)

    assert len(caught.value.detail) < 1_000


@pytest.mark.parametrize("name", ["json", "msgpack"])
@pytest.mark.parametrize("tp", [Tree, Any, dict[str, Any], Priced])
def test_what_is_taken_is_never_too_deep_to_be_narrowed_and_sent(name: str, tp: Any) -> None:
    encode, shape = CODECS[name].encoder(tp), shaper(tp)
    assert encode is not None
    assert shape is not None
    around = (lambda value: {"anything": value}) if tp is Priced else lambda value: value
    for levels in (DEPTH_MAX - 1, 400, 900):
        body = encode(around(nested(levels)))
        if levels < DEPTH_MAX:
            assert encode(shape(decode(name, tp, body)))
        else:
            with pytest.raises(Malformed, match="deep"):
                decode(name, tp, body)


def test_of_ndjson_each_line_has_a_limit() -> None:
    deep = msgspec.json.encode(nested(DEPTH_MAX + 1))

    with pytest.raises(Malformed, match="deep"):
        decode("ndjson", list[Tree], b"{}\n" + deep)


@pytest.mark.parametrize(("tp", "field"), [(Priced, "weight"), (Tree, "value"), (Loose, "table")])
def test_of_ndjson_a_fault_says_which_line(tp: Any, field: str) -> None:
    # Where each line is looked at by itself, for its numbers or its depth, nobody could tell which one was wrong.
    with pytest.raises(Invalid) as caught:
        decode("ndjson", list[tp], b"{}\n\n{}\n" + msgspec.json.encode({field: "x"}))

    assert caught.value.faults[0].path == f"$[2].{field}"


def test_many_brackets_beside_each_other_are_welcome() -> None:
    assert decode("json", Any, b"[" + b",".join([b"[{}]"] * 1_000) + b"]") == [[{}]] * 1_000


def test_more_rows_than_the_limit_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    class Row(Struct):
        n: int

    monkeypatch.setattr(csv, "ROWS_MAX", 10)

    assert len(decode("csv", list[Row], b"n\n" + b"1\n" * 10)) == 10
    with pytest.raises(TooLarge):
        decode("csv", list[Row], b"n\n" + b"1\n" * 11)


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_many_keys_that_do_not_collide_are_welcome(name: str) -> None:
    value = Keyed(keys={UUID(int=i * 7919) for i in range(5_000)}, numbers=set(range(5_000)))
    encode = CODECS[name].encoder(Keyed)

    assert decode(name, Keyed, encode(value)) == value


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_of_a_key_given_twice_the_last_counts(name: str) -> None:
    body = {"json": b'{"weight": 1, "weight": 2}', "msgpack": b"\x82\xa6weight\x01\xa6weight\x02"}[name]

    assert decode(name, Priced, body).weight == 2.0


def test_a_false_length_takes_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(Malformed):
        decode("msgpack", list[Any], b"\xdd\xff\xff\xff\xff" * 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1_000_000


@pytest.mark.parametrize("name", ["json", "ndjson", "msgpack", "form", "csv"])
@pytest.mark.parametrize("tp", [Order, list[Order], Flat, list[Flat], Priced, Keyed, *KINDS], ids=str)
def test_no_bytes_make_a_decoder_crash(name: str, tp: Any) -> None:
    read = CODECS[name].decoder(tp)
    if read is None:
        return

    @given(body=st.binary(max_size=60) | st.builds(b"".join, st.lists(st.sampled_from(FRAGMENTS), max_size=20)))
    @settings(max_examples=60, deadline=None)
    def feed(body: bytes) -> None:
        try:
            read(body)
        except Error:
            pass

    feed()


FRAGMENTS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"table"',
    b'"on"',
    b"1",
    b"null",
    b"\n",
    b"table",
    b"=",
    b"&",
    b".0.",
    b"on",
    b"price",
    b"nan",
    b"\x80",
    b"\x81",
    b"\xa5table",
    b"\xcb\x7f\xf8",
    b"2026-01-01",
    b'"',
    b"%",
    b"\r",
    b"note",
    b"'",
]
