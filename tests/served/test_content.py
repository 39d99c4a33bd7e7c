"""Files and codings, as curl asks for them."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from pathlib import Path

import brotli
import httpx
import pytest
import zstandard
from running import GIVE_UP_S, Served
from wire import ask, get, post

pytestmark = pytest.mark.xdist_group("served")

TEN = b"0123456789"
STYLE = b"body { color: black }\n" * 500


@pytest.fixture(scope="module")
def files(kitchen: Served) -> Path:
    """The folder that is served at /files, with a style in every coding and a large file."""
    folder = kitchen.folder / "app" / "files"
    (folder / "style.css").write_bytes(STYLE)
    (folder / "style.css.gz").write_bytes(gzip.compress(STYLE))
    (folder / "style.css.br").write_bytes(brotli.compress(STYLE))
    (folder / "large.bin").write_bytes(bytes(range(256)) * 4096 * 100)
    return folder


def _curl(*words: str, folder: Path) -> tuple[str, bytes]:
    """The head and the body that curl receives."""
    head, body = folder / "head", folder / "body"
    body.unlink(missing_ok=True)
    subprocess.run(["curl", "-sS", "-D", str(head), "-o", str(body), *words], check=True, timeout=GIVE_UP_S)
    return head.read_text().lower(), body.read_bytes() if body.exists() else b""


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [("2-4", b"234", "bytes 2-4/10"), ("8-", b"89", "bytes 8-9/10"), ("-3", b"789", "bytes 7-9/10")],
)
def test_curl_gets_a_range(kitchen: Served, files: Path, tmp_path: Path, part: str, content: bytes, said: str) -> None:
    head, body = _curl("-r", part, f"{kitchen.url}/files/ten.txt", folder=tmp_path)

    assert head.startswith("http/1.1 206")
    assert f"content-range: {said}" in head
    assert body == content


def test_curl_goes_on_with_a_download_that_broke_off(kitchen: Served, files: Path, tmp_path: Path) -> None:
    whole, target = files / "large.bin", tmp_path / "large.bin"
    target.write_bytes(whole.read_bytes()[:12_345_678])

    subprocess.run(
        ["curl", "-sS", "-C", "-", "-o", str(target), f"{kitchen.url}/files/large.bin"],
        check=True, timeout=GIVE_UP_S,
    )  # fmt: skip

    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(whole.read_bytes()).digest()


def test_a_large_file_takes_no_memory(kitchen: Served, files: Path, tmp_path: Path) -> None:
    before = kitchen.rss_bytes()
    for _ in range(5):
        _curl("--limit-rate", "400M", f"{kitchen.url}/files/large.bin", folder=tmp_path)

    assert kitchen.rss_bytes() - before < 30 * 2**20


def test_curl_gets_nothing_anew_that_it_has(kitchen: Served, files: Path, tmp_path: Path) -> None:
    tag = tmp_path / "tag"
    url = f"{kitchen.url}/files/ten.txt"

    first, body = _curl("--etag-save", str(tag), url, folder=tmp_path)
    second, nothing = _curl("--etag-compare", str(tag), url, folder=tmp_path)
    since, nothing_again = _curl("-z", str(files / "ten.txt"), url, folder=tmp_path)

    assert (body, nothing, nothing_again) == (TEN, b"", b"")
    assert [head.split()[1] for head in (first, second, since)] == ["200", "304", "304"]


@pytest.mark.parametrize(
    ("accepted", "coding"), [("gzip", "gzip"), ("br;q=1, gzip;q=0.5", "br"), ("br, gzip", "br"), ("identity", "")]
)
def test_a_compressed_variant_of_a_file_is_sent_to_who_takes_it(
    kitchen: Served, files: Path, tmp_path: Path, accepted: str, coding: str
) -> None:
    head, body = _curl("-H", f"Accept-Encoding: {accepted}", f"{kitchen.url}/files/style.css", folder=tmp_path)

    unpack = {"gzip": gzip.decompress, "br": brotli.decompress, "": bytes}[coding]
    assert unpack(body) == STYLE
    assert ("content-encoding: " + coding in head) == bool(coding)
    assert "vary: accept-encoding" in head
    assert f"content-length: {len(body)}" in head


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"), ("br", "br"), ("zstd", "zstd"), ("gzip;q=0.1, zstd", "zstd"), ("gzip;q=0", ""),
        ("identity", ""), ("deflate", ""), ("*", "any"), ("gzip, deflate, br, zstd", "any"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/big", "/openapi.json"])
def test_an_answer_is_compressed_for_who_takes_it(
    kitchen: Served, tmp_path: Path, path: str, accepted: str, coding: str
) -> None:
    _, plain = _curl("-H", "Accept-Encoding: identity", f"{kitchen.url}{path}", folder=tmp_path)
    head, body = _curl("-H", f"Accept-Encoding: {accepted}", f"{kitchen.url}{path}", folder=tmp_path)

    found = next((line.split(": ")[1] for line in head.splitlines() if line.startswith("content-encoding")), "")
    unpack = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": _unzstd, "": bytes}[found]
    assert found == coding or (coding == "any" and found)
    assert unpack(body) == plain
    assert "accept-encoding" in head


def test_curl_unpacks_what_it_asked_for(kitchen: Served, tmp_path: Path) -> None:
    _, plain = _curl(f"{kitchen.url}/big", folder=tmp_path)
    head, unpacked = _curl("--compressed", f"{kitchen.url}/big", folder=tmp_path)

    assert "content-encoding: " in head
    assert unpacked == plain


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_stream_is_compressed_for_who_takes_it(kitchen: Served, tmp_path: Path, coding: str) -> None:
    _, plain = _curl(f"{kitchen.url}/lines?count=100", folder=tmp_path)
    head, body = _curl("-H", f"Accept-Encoding: {coding}", f"{kitchen.url}/lines?count=100", folder=tmp_path)

    assert f"content-encoding: {coding}" in head
    assert {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": _unzstd}[coding](body) == plain
    assert len(body) < len(plain)


def test_small_answers_and_opaque_streams_are_sent_as_they_are(kitchen: Served) -> None:
    for path in ("/hello", "/stream?chunks=10&size=1000"):
        reply = ask(kitchen.port, get(path, "Accept-Encoding: gzip"))

        assert reply is not None
        assert reply.header("content-encoding") is None


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstandard.compress)]
)
def test_a_compressed_body_is_taken(kitchen: Served, coding: str, pack: object) -> None:
    body = pack(b'{"table":4}')  # type: ignore[operator]

    reply = ask(kitchen.port, post("/tickets", body, f"Content-Encoding: {coding}"))

    assert reply is not None
    assert reply.json()["table"] == 4


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/msgpack", "application/msgpack"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("application/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_an_answer_has_the_format_that_is_preferred(kitchen: Served, accept: str, media_type: str) -> None:
    reply = httpx.get(f"{kitchen.url}/big?count=2", headers={"accept": accept} if accept else {})

    assert reply.headers["content-type"] == media_type
    assert "accept" in reply.headers["vary"]


def test_a_failure_has_the_format_that_is_preferred(kitchen: Served) -> None:
    reply = httpx.get(f"{kitchen.url}/none", headers={"accept": "application/msgpack"})

    assert reply.headers["content-type"] == "application/problem+msgpack"


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
