"""Files over HTTP: validators, ranges, variants, and the walls around the folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import granian_serving

from toque.contract.module import StaticFiles
from toque.testing.memory import Answer, MemoryProtocol, MemoryScope
from toque.transports.conditions import Unsatisfiable, wanted_range
from toque.transports.rewriting import Headless
from toque.transports.static import problem, static_endpoint

TEXT = b"abcdefghij"
MODIFIED_S = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "sub").mkdir(parents=True)
    for name, content in {
        "ten.txt": TEXT,
        "empty.txt": b"",
        "index.html": b"<h1>Home</h1>",
        "sub/index.html": b"<h1>Sub</h1>",
        "app.css": b"body { color: black }",
        "app.css.br": b"br",
        "app.css.gz": b"gzip",
        "app.0a1b2c3d.js": b"1",
        "menu.20260131.txt": b"1",
        "photo.jpg": b"\xff\xd8",
        "logo.svg": b"<svg/>",
        "page.unknown": b"?",
        ".env": b"SECRET",
    }.items():
        (folder / name).write_bytes(content)
        os.utime(folder / name, (MODIFIED_S, MODIFIED_S))
    (tmp_path / "secret.txt").write_text("SECRET")
    return folder


async def ask(folder: Path, name: str, method: str = "GET", **headers: str) -> Answer:
    proto = MemoryProtocol([])
    fields = [(key.replace("_", "-"), value) for key, value in headers.items()]
    scope = MemoryScope(method, f"/static/{name}", "", fields)
    to = Headless(proto) if method == "HEAD" else proto
    await static_endpoint(StaticFiles("/static", folder))(scope, scope.headers, to, (name,))
    return proto.answer


async def test_a_file_is_sent_with_its_type_its_length_and_its_validators(folder: Path) -> None:
    answer = await ask(folder, "ten.txt")

    assert (answer.status, answer.content) == (200, TEXT)
    assert answer.headers.get("content-type") == "text/plain; charset=utf-8"
    assert answer.headers.get("content-length") == "10"
    assert answer.headers.get("last-modified") == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert answer.headers.get("etag") == f'"{MODIFIED_S * 10**9:x}-a"'
    assert answer.headers.get("accept-ranges") == "bytes"
    assert answer.headers.get("cache-control") == "no-cache"


async def test_head_has_the_headers_of_get_and_no_content(folder: Path) -> None:
    whole = await ask(folder, "ten.txt")
    head = await ask(folder, "ten.txt", "HEAD", range="bytes=0-1")

    assert head.status == 200
    assert head.content == b""
    assert head.headers.items() == whole.headers.items()


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("photo.jpg", "image/jpeg"),
        ("app.0a1b2c3d.js", "text/javascript; charset=utf-8"),
        ("page.unknown", "application/octet-stream"),
    ],
)
async def test_the_media_type_is_told_by_the_name(folder: Path, name: str, media_type: str) -> None:
    assert (await ask(folder, name)).headers.get("content-type") == media_type


async def test_a_name_with_a_content_hash_is_kept_for_good_and_one_with_a_date_not(folder: Path) -> None:
    hashed = await ask(folder, "app.0a1b2c3d.js")
    dated = await ask(folder, "menu.20260131.txt")

    assert hashed.headers.get("cache-control") == "public, max-age=31536000, immutable"
    assert dated.headers.get("cache-control") == "no-cache"


async def test_pages_may_run_our_own_scripts_and_drawings_may_run_none(folder: Path) -> None:
    page = (await ask(folder, "index.html")).headers.get("content-security-policy")
    drawing = (await ask(folder, "logo.svg")).headers.get("content-security-policy")

    assert page.startswith("default-src 'self'")
    assert "default-src 'none'" in drawing
    assert "sandbox" in drawing


async def test_a_folder_answers_with_its_index(folder: Path) -> None:
    assert (await ask(folder, "")).content == b"<h1>Home</h1>"
    assert (await ask(folder, "sub/")).content == b"<h1>Sub</h1>"


async def test_a_folder_without_its_slash_sends_there_so_that_relative_links_hold(folder: Path) -> None:
    answer = await ask(folder, "sub")

    assert (answer.status, answer.headers.get("location")) == (308, "sub/")


# What must not be found.


@pytest.mark.parametrize(
    "name",
    [
        "none.txt", "sub/none.txt", "ten.txt/", "ten.txt/x",
        "../secret.txt", "sub/../../secret.txt", "sub/../ten.txt", "..", "../", "./ten.txt", "sub//a",
        "/etc/passwd", "//etc/passwd", "..\\secret.txt", "sub\\index.html", "ten.txt\0", "\0",
        ".env", ".env/", "sub/.env", ".", "n" * 5_000, "\udcff",
    ],
)  # fmt: skip
async def test_nothing_outside_nothing_hidden_and_nothing_odd_is_found(folder: Path, name: str) -> None:
    answer = await ask(folder, name)

    assert answer.status == 404
    assert answer.json()["code"] == "not_found"
    assert b"SECRET" not in answer.content


async def test_a_link_that_leaves_the_folder_is_not_followed(folder: Path) -> None:
    (folder / "out.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "up").symlink_to(folder.parent)
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "within.txt").symlink_to(folder / "ten.txt")

    assert (await ask(folder, "out.txt")).status == 404
    assert (await ask(folder, "up/secret.txt")).status == 404
    assert (await ask(folder, "circle")).status == 404
    assert (await ask(folder, "within.txt")).content == TEXT


async def test_a_neighbour_whose_name_begins_like_the_folder_is_outside(folder: Path) -> None:
    neighbour = folder.parent / "public-not"
    neighbour.mkdir()
    (neighbour / "secret.txt").write_text("SECRET")
    (folder / "neighbour").symlink_to(neighbour)

    assert (await ask(folder, "neighbour/secret.txt")).status == 404


async def test_what_is_no_plain_file_is_not_sent(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")

    assert (await ask(folder, "pipe.txt")).status == 404


@given(st.text(max_size=40), st.lists(st.sampled_from(["..", ".", "sub", "ten.txt", "", ".env", "secret.txt"])))
async def test_whatever_is_asked_for_never_leaves_the_folder(text: str, parts: list[str]) -> None:
    here = Path(__file__).parent

    for name in (text, "/".join(parts)):
        answer = await ask(here, name)
        assert answer.status in (200, 308, 404)
        if answer.status == 200:
            assert (here / name).resolve().is_relative_to(here)


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert problem(StaticFiles("/static", tmp_path)) is None
    assert "there is no folder" in (problem(StaticFiles("/static", tmp_path / "none")) or "")


# Conditions.


async def test_who_has_the_version_already_gets_304_and_no_content(folder: Path) -> None:
    etag = (await ask(folder, "ten.txt")).headers.get("etag")

    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await ask(folder, "ten.txt", if_none_match=known)
        assert (answer.status, answer.content) == (304, b"")
        assert answer.headers.get("etag") == etag
        assert "content-type" not in answer.headers


async def test_another_version_is_sent_in_full(folder: Path) -> None:
    assert (await ask(folder, "ten.txt", if_none_match='"other"')).status == 200


async def test_a_changed_file_has_another_validator(folder: Path) -> None:
    before = (await ask(folder, "ten.txt")).headers.get("etag")
    os.utime(folder / "ten.txt", ns=(0, MODIFIED_S * 10**9 + 1))
    after = (await ask(folder, "ten.txt")).headers.get("etag")

    assert before != after


@pytest.mark.parametrize(
    ("date", "status"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 304),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", 304),
        ("Tue Nov 14 22:13:20 2023", 304),
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("yesterday", 200),
        ("Tue, 14 Nov 99999999999999 22:13:20 GMT", 200),
    ],
)
async def test_if_modified_since_takes_every_form_of_date_and_ignores_what_is_none(
    folder: Path, date: str, status: int
) -> None:
    assert (await ask(folder, "ten.txt", if_modified_since=date)).status == status


async def test_if_none_match_wins_over_if_modified_since(folder: Path) -> None:
    late = format_datetime(datetime.now(UTC), usegmt=True)

    assert (await ask(folder, "ten.txt", if_none_match='"other"', if_modified_since=late)).status == 200


async def test_if_match_and_if_unmodified_since_refuse_another_version(folder: Path) -> None:
    etag = (await ask(folder, "ten.txt")).headers.get("etag")

    assert (await ask(folder, "ten.txt", if_match=etag)).status == 200
    assert (await ask(folder, "ten.txt", if_match="*")).status == 200
    assert (await ask(folder, "ten.txt", if_match='"other"')).json()["code"] == "precondition_failed"
    assert (await ask(folder, "ten.txt", if_match=f"W/{etag}")).status == 412
    assert (await ask(folder, "ten.txt", if_unmodified_since="Tue, 14 Nov 2023 22:13:20 GMT")).status == 200
    assert (await ask(folder, "ten.txt", if_unmodified_since="Tue, 14 Nov 2023 22:13:19 GMT")).status == 412


# Ranges.


@pytest.mark.parametrize(
    ("asked", "content", "said"),
    [
        ("bytes=0-0", b"a", "bytes 0-0/10"),
        ("bytes=2-4", b"cde", "bytes 2-4/10"),
        ("bytes=8-", b"ij", "bytes 8-9/10"),
        ("bytes=8-99", b"ij", "bytes 8-9/10"),
        ("bytes=-3", b"hij", "bytes 7-9/10"),
        ("bytes=-99", TEXT, "bytes 0-9/10"),
        ("BYTES = 1-1", b"b", "bytes 1-1/10"),
    ],
)
async def test_one_range_is_sent_alone(folder: Path, asked: str, content: bytes, said: str) -> None:
    answer = await ask(folder, "ten.txt", range=asked)

    assert (answer.status, answer.content) == (206, content)
    assert answer.headers.get("content-range") == said
    assert answer.headers.get("content-length") == str(len(content))


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=4-2", "bytes=-", "bytes=x-2", "lines=1-2", "bytes=٣-٤"])
async def test_several_ranges_and_what_is_no_range_mean_the_whole(folder: Path, asked: str) -> None:
    answer = await ask(folder, "ten.txt", range=asked)

    assert (answer.status, answer.content) == (200, TEXT)


@pytest.mark.parametrize(
    ("name", "asked"), [("ten.txt", "bytes=10-"), ("ten.txt", "bytes=-0"), ("empty.txt", "bytes=0-")]
)
async def test_a_range_beyond_the_end_is_refused_and_the_length_told(folder: Path, name: str, asked: str) -> None:
    answer = await ask(folder, name, range=asked)

    assert answer.json()["code"] == "range_not_satisfiable"
    assert answer.headers.get("content-range") == f"bytes */{(folder / name).stat().st_size}"


async def test_a_range_of_another_version_is_the_whole(folder: Path) -> None:
    etag = (await ask(folder, "ten.txt")).headers.get("etag")

    async def status(if_range: str) -> int:
        return (await ask(folder, "ten.txt", range="bytes=0-1", if_range=if_range)).status

    assert await status(etag) == 206
    assert await status(f"W/{etag}") == 200
    assert await status('"other"') == 200
    assert await status("Tue, 14 Nov 2023 22:13:20 GMT") == 206
    assert await status("Wed, 15 Nov 2023 22:13:20 GMT") == 200


async def test_a_date_of_this_very_second_tells_no_versions_apart(folder: Path) -> None:
    os.utime(folder / "ten.txt")
    date = (await ask(folder, "ten.txt")).headers.get("last-modified")
    os.utime(folder / "ten.txt", (2**33, 2**33))
    future = (await ask(folder, "ten.txt")).headers.get("last-modified")

    assert date != future
    assert (await ask(folder, "ten.txt", range="bytes=0-1", if_range=future)).status == 200


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}"), st.integers(0, 2**60))
def test_a_range_lies_always_within_the_content(asked: str, size: int) -> None:
    scope = MemoryScope("GET", "/", "", [("range", asked)])

    try:
        part = wanted_range(scope.headers, size, '"1"', 0)
    except Unsatisfiable:
        return

    assert part is None or 0 <= part[0] < part[1] <= size


# Variants.


async def test_a_compressed_variant_is_chosen_by_what_the_caller_takes(folder: Path) -> None:
    best = await ask(folder, "app.css", accept_encoding="gzip, br, zstd")
    older = await ask(folder, "app.css", accept_encoding="gzip")
    plain = await ask(folder, "app.css")
    refused = await ask(folder, "app.css", accept_encoding="br;q=0, deflate")

    assert (best.content, best.headers.get("content-encoding")) == (b"br", "br")
    assert (older.content, older.headers.get("content-encoding")) == (b"gzip", "gzip")
    assert plain.headers.get("content-encoding") is None
    assert plain.content == refused.content == b"body { color: black }"
    for answer in (best, older, plain):
        assert answer.headers.get("vary") == "accept-encoding"
        assert answer.headers.get("content-type") == "text/css; charset=utf-8"
    assert len({answer.headers.get("etag") for answer in (best, older, plain)}) == 3


async def test_a_variant_has_its_own_versions_and_ranges(folder: Path) -> None:
    etag = (await ask(folder, "app.css", accept_encoding="br")).headers.get("etag")

    assert (await ask(folder, "app.css", accept_encoding="br", if_none_match=etag)).status == 304
    assert (await ask(folder, "app.css", if_none_match=etag)).status == 200
    assert (await ask(folder, "app.css", accept_encoding="br", range="bytes=1-")).content == b"r"


async def test_a_variant_older_than_its_file_is_not_sent(folder: Path) -> None:
    os.utime(folder / "app.css", (MODIFIED_S + 1, MODIFIED_S + 1))

    assert (await ask(folder, "app.css", accept_encoding="br")).content == b"body { color: black }"


async def test_a_variant_that_is_a_link_is_not_sent(folder: Path) -> None:
    (folder / "ten.txt.br").symlink_to(folder.parent / "secret.txt")

    assert (await ask(folder, "ten.txt", accept_encoding="br")).content == TEXT


# Over a socket.


async def test_the_web_server_sends_what_was_decided_here(folder: Path) -> None:
    endpoint = static_endpoint(StaticFiles("/static", folder))
    (folder / "large.bin").write_bytes(bytes(range(256)) * 8_192)

    async def app(scope: Any, proto: Any) -> None:
        to = Headless(proto) if scope.method == "HEAD" else proto
        await endpoint(scope, scope.headers, to, (scope.path.removeprefix("/static/"),))

    async with (
        granian_serving(app) as address,
        httpx.AsyncClient(base_url=f"http://{address}/static/") as client,
    ):
        whole = await client.get("large.bin")
        part = await client.get("large.bin", headers={"range": "bytes=1000000-1000001"})
        head = await client.head("large.bin")
        kept = await client.get("ten.txt", headers={"if-none-match": "*"})
        packed = await client.get("empty.txt", headers={"accept-encoding": "identity"})
        escaped = await client.get("%2e%2e/secret.txt")

    assert (whole.status_code, whole.content) == (200, bytes(range(256)) * 8_192)
    assert (part.status_code, part.content) == (206, bytes([64, 65]))
    assert part.headers["content-length"] == "2"
    assert (head.headers["content-length"], head.content) == ("2097152", b"")
    assert "transfer-encoding" not in whole.headers
    assert kept.status_code == 304
    assert (packed.status_code, packed.content, packed.headers["content-length"]) == (200, b"", "0")
    assert escaped.status_code == 404
