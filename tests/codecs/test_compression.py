"""Bodies are compressed for whoever asks, and inflated through a cap."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from toque.codecs import compression
from toque.codecs.compression import AVAILABLE, compress, stream_compressor
from toque.codecs.inflation import inflate
from toque.contract.errors import Error, Malformed, TooLarge, UnsupportedMediaType

NOISE = random.Random(0).randbytes(100)
"""Nothing can compress it; the same in every worker of pytest-xdist, which tells tests apart by it."""
MEBIBYTE = 1024 * 1024


def test_gzip_is_always_there_and_the_extra_brings_two() -> None:
    assert AVAILABLE == ("zstd", "br", "gzip")


@pytest.mark.parametrize("coding", AVAILABLE)
@given(body=st.binary(max_size=3_000))
@settings(max_examples=30, deadline=None)
def test_what_is_compressed_inflates_to_the_same(coding: str, body: bytes) -> None:
    assert inflate(compress(body, coding), coding, 4_000) == body


@pytest.mark.parametrize("coding", AVAILABLE)
def test_each_chunk_of_a_stream_can_be_read_when_it_arrives(coding: str) -> None:
    readers = {
        "gzip": zlib.decompressobj(31).decompress,
        "br": brotli.Decompressor().process,
        "zstd": zstandard.ZstdDecompressor().decompressobj().decompress,
    }
    stream, read = stream_compressor(coding), readers[coding]

    assert [read(stream.chunk(chunk)) for chunk in (b"one", b"two")] == [b"one", b"two"]
    read(stream.end())


@pytest.mark.parametrize("coding", [*AVAILABLE, "deflate"])
def test_a_bomb_is_too_large_before_it_is_all_inflated(coding: str) -> None:
    pack = {"deflate": zlib.compress}.get(coding, lambda body: compress(body, coding))
    bomb = pack(bytes(20 * MEBIBYTE))

    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflate(bomb, coding, MEBIBYTE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 6 * MEBIBYTE
    with pytest.raises(TooLarge, match="200 times"):
        inflate(bomb, coding, 50 * MEBIBYTE)


# Without a time in gzip's head: the tests' names are made of the bytes, and are the same in every process.
@pytest.mark.parametrize(
    ("body", "coding", "error"),
    [
        (b"", "gzip", Malformed),
        (b"junk", "gzip", Malformed),
        (gzip.compress(b"x" * 100, mtime=0)[:-9], "gzip", Malformed),
        (gzip.compress(b"x", mtime=0) + b"junk", "gzip", Malformed),
        (b"junk", "deflate", Malformed),
        (zlib.compress(b"x") + b"junk", "deflate", Malformed),
        (b"junk", "br", Malformed),
        (brotli.compress(NOISE)[:-9], "br", Malformed),
        (brotli.compress(b"x") + b"junk", "br", Malformed),
        (b"", "br", Malformed),
        (b"junk", "zstd", Malformed),
        (b"", "zstd", Malformed),
        (zstandard.compress(NOISE)[:-9], "zstd", Malformed),
        (zstandard.compress(b"x") + b"junk", "zstd", Malformed),
        (zstandard.ZstdCompressor().compressobj().compress(b"x" * 999), "zstd", Malformed),
        (b"", "compress", UnsupportedMediaType),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip, gzip", UnsupportedMediaType),
        (b"", "x" * 10_000, UnsupportedMediaType),
    ],
)
def test_bodies_that_are_not_what_they_say_are_refused(body: bytes, coding: str, error: type[Error]) -> None:
    with pytest.raises(error):
        inflate(body, coding, MEBIBYTE)


@pytest.mark.parametrize("coding", [*AVAILABLE, "deflate"])
@given(body=st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_inflating_crash(coding: str, body: bytes) -> None:
    try:
        inflate(body, coding, 10_000)
    except Error:
        pass


def test_members_of_gzip_one_behind_the_other_are_one_body() -> None:
    assert inflate(gzip.compress(b"one") + gzip.compress(b"two"), "GZIP", MEBIBYTE) == b"onetwo"


def test_frames_of_zstd_one_behind_the_other_are_one_body() -> None:
    body = zstandard.compress(b"one") + zstandard.compress(b"two" * 400)

    assert inflate(body, "zstd", MEBIBYTE) == b"one" + b"two" * 400


def test_bare_deflate_is_understood() -> None:
    bare = zlib.compressobj(wbits=-15)

    assert inflate(bare.compress(b"text") + bare.flush(), "deflate", MEBIBYTE) == b"text"


def test_a_coding_that_is_not_there_is_a_mistake_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="known here: zstd, br, gzip"):
        compression.compressor("lzma")
