"""Bodies that were made to do harm, in every format: what each is, and the code that answers it."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import brotli
import zstandard

DEEP = 100_000
JSON, FORM, CSV = "application/json", "application/x-www-form-urlencoded", "text/csv"
MSGPACK, NDJSON, MULTIPART = "application/msgpack", "application/x-ndjson", "multipart/form-data; boundary=x"


@dataclass(frozen=True)
class Enemy:
    """One body: where it is sent, and how it is answered."""

    name: str
    path: str
    content_type: str
    body: bytes
    code: str
    coding: str = ""


def enemies() -> Iterator[Enemy]:
    """All of them."""
    for content_type, made in (
        (JSON, _json),
        (MSGPACK, _msgpack),
        (FORM, _form),
        (CSV, _csv),
        (NDJSON, _ndjson),
    ):
        for name, path, body, code in made():
            yield Enemy(f"{content_type}: {name}", path, content_type, body, code)
    yield from _multipart()
    yield from _coded()


Row = tuple[str, str, bytes, str]


def _json() -> Iterator[Row]:
    yield "arrays in arrays", "/tickets", b"[" * DEEP, "invalid"
    yield "closed arrays in arrays", "/anything", b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}", "malformed"
    yield "objects in objects", "/tickets", b'{"a":' * DEEP + b"1" + b"}" * DEEP, "malformed"
    yield (
        "depth where nobody looks",
        "/tickets",
        b'{"table":1,"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
        "malformed",
    )
    yield "a call of great depth", "/rpc", b"[" * DEEP + b"]" * DEEP, ""
    yield "an integer of 100 000 digits", "/tickets", b'{"table":' + b"9" * 100_000 + b"}", "invalid"
    yield "any integer of 100 000 digits", "/anything", b'{"a":' + b"9" * 100_000 + b"}", "invalid"
    yield "a float out of range", "/tickets", b'{"table":1,"tip":1e999}', "invalid"
    yield "a long exponent", "/tickets", b'{"table":1,"tip":1e' + b"9" * 10_000 + b"}", "invalid"
    yield "NaN", "/tickets", b'{"table":1,"tip":NaN}', "malformed"
    yield "Infinity", "/tickets", b'{"table":1,"tip":-Infinity}', "malformed"
    yield "text that is not UTF-8", "/tickets", b'{"table":1,"notes":{"a":"\xff"}}', "malformed"
    yield "a key that is not UTF-8", "/anything", b'{"\xff":1}', "malformed"
    yield "no UTF-8 where nobody looks", "/tickets", b'{"table":1,"x":"\xff"}', "malformed"
    yield "half a surrogate", "/tickets", rb'{"table":1,"notes":{"a":"\ud800"}}', "malformed"
    yield "UTF-16", "/tickets", '{"table":1}'.encode("utf-16"), "malformed"
    yield "a byte order mark", "/tickets", b"\xef\xbb\xbf" + b'{"table":1}', "malformed"
    yield "nothing but spaces", "/tickets", b" " * 500_000, "malformed"
    yield "two values", "/tickets", b'{"table":1}{"table":2}', "malformed"
    yield "half of it", "/tickets", b'{"table":1', "malformed"
    yield "single quotes", "/tickets", b"{'table':1}", "malformed"
    yield "null", "/tickets", b"null", "invalid"
    yield "an array", "/tickets", b"[]", "invalid"
    yield "another type in every item", "/tables", b"[" + b'{"table":"x"},' * 50_000 + b"1]", "invalid"


def _msgpack() -> Iterator[Row]:
    yield "arrays in arrays", "/anything", b"\x81\xa1a" + b"\x91" * DEEP + b"\xc0", "malformed"
    yield "maps in maps", "/anything", b"\x81\xa1a" * DEEP + b"\xc0", "malformed"
    yield "an array of 4 billion", "/tables", b"\xdd\xff\xff\xff\xff", "malformed"
    yield "a map of 4 billion", "/anything", b"\xdf\xff\xff\xff\xff", "malformed"
    yield "a text of 4 GB", "/tickets", b"\x81\xdb\xff\xff\xff\xff", "malformed"
    yield "binary of 4 GB", "/anything", b"\x81\xa1a\xc6\xff\xff\xff\xff", "malformed"
    yield "a 4 GB extension", "/anything", b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "malformed"
    yield "an unknown extension", "/anything", b"\x81\xa1a\xd4\x05\x00", "malformed"
    yield "no UTF-8", "/anything", b"\x81\xa1a\xa1\xff", "malformed"
    yield "the byte that is never used", "/anything", b"\xc1", "malformed"
    yield "NaN", "/tickets", b"\x82\xa5table\x01\xa3tip\xcb" + struct.pack(">d", float("nan")), "invalid"
    yield "a huge integer", "/tickets", b"\x81\xa5table\xcb" + struct.pack(">d", 1e300), "invalid"
    yield "two values", "/anything", b"\x80\x80", "malformed"
    yield "nothing", "/anything", b"", "malformed"
    yield "keys that are arrays", "/anything", b"\x81\xa1a\xde\x10\x00" + b"\x91\x01\x01" * 4096, "invalid"


def _form() -> Iterator[Row]:
    yield "500 000 fields", "/tickets", b"a&" * 500_000, "too_large"
    yield "a name of 100 000 dots", "/tickets", b"a" + b".a" * DEEP + b"=1", "invalid"
    yield "only dots", "/tickets", b"." * DEEP + b"=1", "invalid"
    yield "a list with a huge place", "/tickets", b"table=1&lines.99999999999999999999.dish=a", ""
    yield "a place that is no number", "/tickets", "table=1&lines.٣.dish=a".encode(), "invalid"
    yield "a name both plain and not", "/tickets", b"table=1&table.x=2", "invalid"
    yield "percent that is not UTF-8", "/tickets", b"table=%ff", "malformed"
    yield "bytes that are not UTF-8", "/tickets", b"table=\xff", "malformed"
    yield "a huge integer", "/tickets", b"table=" + b"9" * 100_000, "invalid"
    yield "NaN", "/tickets", b"table=1&tip=nan", "invalid"
    yield "infinity", "/tickets", b"table=1&tip=1e999", "invalid"


def _csv() -> Iterator[Row]:
    yield "50 000 columns", "/lines", b",".join(b"c%d" % at for at in range(50_000)) + b"\n", "too_large"
    yield "a column twice", "/lines", b"dish,dish\na,b\n", "malformed"
    yield "a quote that never ends", "/lines", b'dish,quantity\n"a,1\n' * 1000, "malformed"
    yield "cells without column", "/lines", b"dish,quantity\n" + b"a,1,2\n" * 10, "invalid"
    yield "a cell of 500 kB", "/lines", b"dish,quantity\n" + b"a" * 500_000 + b",1\n", "malformed"
    yield "100 000 rows", "/lines", b"dish,quantity\n" + b"a,1\n" * 100_000, "too_large"
    yield "no UTF-8", "/lines", b"dish,quantity\n\xff,1\n", "malformed"
    yield "NUL", "/lines", b"dish,quantity\na,\0\n", "invalid"
    yield "a huge integer", "/lines", b"dish,quantity\na," + b"9" * 10_000 + b"\n", "invalid"


def _ndjson() -> Iterator[Row]:
    yield "a bad line", "/lines", b'{"dish":"a"}\n{"dish":\n', "malformed"
    yield "depth in a line", "/lines", b"[" * DEEP + b"\n", "invalid"
    yield "another type in a line", "/lines", b'{"dish":"a"}\n{"dish":1}\n', "invalid"
    yield "no UTF-8 where nobody looks", "/lines", b'{"dish":"a","x":"\xff"}\n', "malformed"


def _part(head: bytes, body: bytes = b"1") -> bytes:
    return b"--x\r\n" + head + b"\r\n\r\n" + body + b"\r\n"


TABLE = _part(b'Content-Disposition: form-data; name="table"')


def _multipart() -> Iterator[Enemy]:
    rows = {
        "20 000 parts": (TABLE * 15_000 + b"--x--\r\n", "too_large"),
        "a part without end": (
            TABLE + b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nabc',
            "malformed",
        ),
        "a head without end": (b"--x\r\nContent-Disposition: " + b"a" * 500_000, "too_large"),
        "1 000 lines in a head": (
            _part(b"X-A: b\r\n" * 1000 + b'Content-Disposition: form-data; name="a"'),
            "too_large",
        ),
        "no name": (_part(b"Content-Disposition: form-data") + b"--x--\r\n", "invalid"),
        "no disposition": (_part(b"X-A: b") + b"--x--\r\n", "malformed"),
        "a file for a number": (
            _part(b'Content-Disposition: form-data; name="table"; filename="../../etc/passwd"') + b"--x--\r\n",
            "invalid",
        ),
        "no UTF-8": (
            _part(b'Content-Disposition: form-data; name="table"', b"\xff") + b"--x--\r\n",
            "malformed",
        ),
        "nothing": (b"", "malformed"),
        "no boundary in it": (b"a" * 100_000, "malformed"),
    }
    for name, (body, code) in rows.items():
        yield Enemy(f"multipart: {name}", "/tickets", MULTIPART, body, code)
    for name, boundary in {"none": "", "empty": "; boundary=", "8 kB": "; boundary=" + "x" * 8000}.items():
        yield Enemy(f"multipart: boundary {name}", "/tickets", "multipart/form-data" + boundary, TABLE, "malformed")


def _coded() -> Iterator[Enemy]:
    bomb = b'{"table":1,"notes":{"a":"' + b" " * 20_000_000 + b'"}}'
    small = b'{"table":1}'
    compressor = zstandard.ZstdCompressor(level=19)
    rows = {
        "gzip bomb": ("gzip", gzip.compress(bomb, 9), "too_large"),
        "brotli bomb": ("br", brotli.compress(bomb, quality=5), "too_large"),
        "zstd bomb": ("zstd", compressor.compress(bomb), "too_large"),
        "two codings": ("gzip, gzip", gzip.compress(gzip.compress(small)), "unsupported_media_type"),
        "a coding nobody knows": ("lz77", small, "unsupported_media_type"),
        "gzip that is none": ("gzip", small, "malformed"),
        "brotli that is none": ("br", b"\xff" * 100, "malformed"),
        "zstd that is none": ("zstd", small, "malformed"),
        "half of gzip": ("gzip", gzip.compress(small)[:-10], "malformed"),
        "gzip and more": ("gzip", gzip.compress(small) + b"more", "malformed"),
        "a wrong checksum": ("gzip", gzip.compress(small)[:-8] + b"\0" * 8, "malformed"),
        "zlib for gzip": ("gzip", zlib.compress(small), "malformed"),
        "a zstd frame that says 1 TB": (
            "zstd", b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**40) + b"\x01\x00\x00", "malformed",
        ),
    }  # fmt: skip
    for name, (coding, body, code) in rows.items():
        yield Enemy(f"coded: {name}", "/tickets", JSON, body, code, coding)
    yield Enemy("coded: a stream", "/upload", "application/octet-stream", small, "unsupported_media_type", "gzip")
