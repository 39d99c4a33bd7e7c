"""Formats and content codings are chosen as RFC 9110 says (12.5.1, 12.5.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.codecs import negotiation
from toque.codecs.negotiation import choose, choose_coding, parse_media_type

OFFERS = ("application/json", "application/msgpack", "text/csv; charset=utf-8", "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", 0),
        ("*/*", 0),
        ("application/msgpack", 1),
        ("APPLICATION/MsgPack", 1),
        ("text/*", 2),
        ("text/*;q=0.5, text/html", 3),
        ("application/json;q=0.4, text/csv;q=0.8", 2),
        ("*/*;q=0.1, text/csv", 2),
        ("application/*, application/json;q=0", 1),
        ("application/json;q=0", None),
        ("application/json;q=0, */*", 1),
        ("image/png", None),
        ("text/csv;charset=utf-8", 2),
        ("text/csv;charset=latin1", None),
        ("text/csv;header=present", 2),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", 3),
        ("application/json;q=2, text/csv", 2),
        ("nonsense, ;;, text/csv", 2),
        ("nonsense", 0),
        ('application/json;x="a,b;q=0", text/csv;q=0.9', 0),
        ("*/json, text/csv", 2),
    ],
)
def test_the_preferred_offer_is_chosen(accept: str, chosen: int | None) -> None:
    assert choose(accept, OFFERS) == chosen


@given(accept=st.text(max_size=80) | st.lists(st.sampled_from([*'*/;,q=0.1 "\\', "text", "json"])).map("".join))
def test_no_accept_breaks_the_choice(accept: str) -> None:
    assert choose(accept, OFFERS) in (None, 0, 1, 2, 3)
    parse_media_type(accept)
    choose_coding(accept, ("br", "gzip"))


def test_what_is_remembered_of_headers_is_bounded() -> None:
    for at in range(negotiation.REMEMBERED_MAX * 2):
        choose(f"text/x{at}" + "x" * 10_000, OFFERS)

    assert negotiation._choose.cache_info().currsize == negotiation.REMEMBERED_MAX
    assert choose("x" * 10_000 + ", text/csv", OFFERS) == 0


@pytest.mark.parametrize(
    ("value", "media_type", "parameters"),
    [
        ("application/json", "application/json", {}),
        ("Text/CSV; Charset=UTF-8", "text/csv", {"charset": "UTF-8"}),
        ('multipart/form-data; boundary="a;b\\"c"', "multipart/form-data", {"boundary": 'a;b"c'}),
        ("text/plain ; a=1 ; b=2", "text/plain", {"a": "1", "b": "2"}),
        ("text/plain; a=1; a=2", "text/plain", {"a": "1"}),
        ("text", "", {}),
        ("text/plain junk", "", {}),
        ("", "", {}),
    ],
)
def test_a_media_type_is_read_with_its_parameters(value: str, media_type: str, parameters: dict[str, str]) -> None:
    assert parse_media_type(value) == (media_type, parameters)


@pytest.mark.parametrize(
    ("accept_encoding", "chosen"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("x-gzip", "gzip"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("*", "br"),
        ("*;q=0.5, gzip", "gzip"),
        ("identity", None),
        ("identity;q=0.5, gzip;q=0.4", None),
        ("identity, gzip", "gzip"),
        ("gzip;q=0", None),
        ("deflate", None),
        ("br;q=0, *", "gzip"),
        ("GZIP;Q=0.3", "gzip"),
    ],
)
def test_the_preferred_coding_is_chosen(accept_encoding: str, chosen: str | None) -> None:
    assert choose_coding(accept_encoding, ("br", "gzip")) == chosen
