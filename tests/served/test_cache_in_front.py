"""A real cache in front (Varnish), which is told what to forget, as docs/guides/caching.md says to set it up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from running import GIVE_UP_S, Served, serving, toque, until

from toque.testing.servers.server import free_port

pytestmark = pytest.mark.xdist_group("served")

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "caching.md"


def _configuration(port: int) -> str:
    """That of the guide, for a Toque at *port*."""
    text = GUIDE.read_text().partition("```vcl\n")[2].partition("```")[0]
    assert '"8000"' in text
    return text.replace('"8000"', f'"{port}"').replace('"shop.example"', '"localhost"')


class Front:
    """Varnish before a served app."""

    def __init__(self, served: Served, url: str) -> None:
        self.served = served
        self.url = url

    def get(self, path: str, **headers: str) -> tuple[int, bool]:
        """The price of the first dish in an answer, and whether Varnish had it."""
        answer = httpx.get(self.url + path, headers=headers, timeout=GIVE_UP_S)
        assert answer.status_code == 200, answer.text
        assert not {"surrogate-key", "cache-groups", "cdn-cache-control"} & answer.headers.keys()
        found = answer.json()
        first = found[0] if isinstance(found, list) else found
        return first["price"], _is_kept(answer)

    def ask(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx.request(method, self.url + path, headers=named, timeout=GIVE_UP_S)
        # Varnish sends an answer before it has put down that it is not to be kept.
        time.sleep(FILED_S)
        return answer

    def set_price(self, number: int, price: int) -> None:
        httpx.post(f"{self.url}/dishes/{number}", json={"price": price}, timeout=GIVE_UP_S).raise_for_status()

    def keep(self, path: str) -> None:
        """Come back when Varnish has *path* and gives it."""
        until(lambda: self.get(path)[1], f"{path} to be kept in front")


SETTINGS = {"cache.purge_method": "PURGE", "cache.edge_s": 3600, "calls.deadline_s": 2}

FILED_S = 0.02

AGAIN_S = 6.0
"""After that, all is said twice: the deadline, `cache.bound_s`, a look's second, and how long the start may take."""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with _fronted(tmp_path_factory.mktemp("front")) as found:
        yield found


@contextmanager
def _fronted(folder: Path) -> Iterator[Front]:
    program = shutil.which("varnishd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI must test with a cache in front: install Debian's varnish")
        pytest.skip("no varnishd: install Debian's varnish")
    port, began = free_port(), time.monotonic()
    with serving("menu", folder, settings={**SETTINGS, "cache.purge_url": f"http://127.0.0.1:{port}/"}) as served:
        file = folder / "front.vcl"
        file.write_text(_configuration(served.port))
        words = [program, "-j", "none", "-F", "-a", f"127.0.0.1:{port}", "-f", str(file), "-n", str(folder / "varnish")]
        with (folder / "varnish.txt").open("w") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            found = Front(served, f"http://127.0.0.1:{port}")
            until(lambda: process.poll() is not None or _answers(found.url), "Varnish to answer")
            assert process.poll() is None, (folder / "varnish.txt").read_text()
            # The app says at its start that everything has changed, and once more after `again_s` (`cache/purging.py`).
            until(lambda: _bans(folder / "varnish") >= 1, "the app to have said what it says at its start")
            time.sleep(max(0.0, began + AGAIN_S - time.monotonic()))
            yield found
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(GIVE_UP_S)


def _bans(name: Path) -> int:
    """How often Varnish was told to forget something, beside its own first entry."""
    words = ["varnishstat", "-n", str(name), "-1", "-f", "MAIN.bans_added"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=GIVE_UP_S)
    return int(done.stdout.split()[1]) - 1


def _is_kept(answer: httpx.Response) -> bool:
    """Whether Varnish had it: it names the request that brought it too."""
    return len(answer.headers["x-varnish"].split()) == 2


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/dishes", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def test_what_changes_is_forgotten_in_front_and_the_rest_is_not(front: Front) -> None:
    for path in ("/dishes/1", "/dishes/2", "/dishes"):
        front.keep(path)

    # A list that was told all of its names twice is not told them by chance.
    front.set_price(1, 7)

    until(lambda: front.get("/dishes/1")[0] == 7, "the dish to be forgotten")
    until(lambda: front.get("/dishes")[0] == 7, "the list to be forgotten")
    assert front.get("/dishes/2") == (1, True)


def test_whoever_has_just_written_is_not_answered_in_front(front: Front) -> None:
    front.keep("/dishes/1")
    for price in range(10, 20):
        done = httpx.post(f"{front.url}/dishes/1", json={"price": price}, timeout=GIVE_UP_S)
        # On SQLite nobody needs a mark; on PostgreSQL it is this one.
        cookie = done.headers.get("set-cookie", "toque_mark=0").partition(";")[0]
        assert front.get("/dishes/1", cookie=cookie) == (price, False)


def test_old_answers_that_were_declared_good_enough_say_so(front: Front) -> None:
    answer = httpx.get(f"{front.served.url}/old", headers={"host": "localhost"}, timeout=GIVE_UP_S)

    assert answer.headers["cache-control"] == "public, max-age=0, stale-while-revalidate=30, stale-if-error=600"
    assert answer.headers["cdn-cache-control"] == "max-age=3600, stale-while-revalidate=30, stale-if-error=600"
    groups = answer.headers["surrogate-key"].split()
    assert answer.headers["cache-groups"] == ", ".join(f'"{group}"' for group in groups)


class Step(NamedTuple):
    """One request, and how its answer must come: `kept` in front, `whole` from the application, or `validated` by it."""

    comes: str
    says: Mapping[str, str] = {}
    """What the application says, if it is asked."""
    sends: Mapping[str, str] = {}
    status: int = 200
    method: str = "GET"
    after_s: float = 0.0
    bears: Mapping[str, str] = {}
    """What must be among the headers that come."""


FRESH = {"cache-control": "max-age=3600"}
TAGGED = {**FRESH, "etag": '"x"'}
OLD_S = 1.3
"""After this, what was to hold for a second does not: Varnish counts the time of the request too."""


def _brief(control: str) -> dict[str, str]:
    return {"cache-control": f"max-age=1{control}", "etag": '"x"'}


# The names are those of the public tests for HTTP caches (https://cache-tests.fyi), where they have the case.
CASES: dict[str, tuple[Step, ...]] = {
    "freshness-none": (Step("whole"), Step("whole")),
    "freshness-max-age": (Step("whole", FRESH), Step("kept")),
    "freshness-max-age-0": (Step("whole", {"cache-control": "max-age=0"}), Step("whole")),
    "freshness-max-age-stale": (Step("whole", {"cache-control": "max-age=1"}), Step("whole", after_s=OLD_S)),
    "freshness-max-age-age": (Step("whole", {**FRESH, "age": "7200"}), Step("whole")),
    "freshness-s-maxage-shared": (Step("whole", {"cache-control": "max-age=0, s-maxage=3600"}), Step("kept")),
    "freshness-max-age-s-maxage-shared-longer": (
        Step("whole", {"cache-control": "max-age=3600, s-maxage=0"}),
        Step("whole"),
    ),
    "freshness-expires-invalid": (Step("whole", {"expires": "0"}), Step("whole")),
    "cc-resp-private-shared": (Step("whole", {"cache-control": "private, max-age=3600"}), Step("whole")),
    "cc-resp-no-store": (Step("whole", {"cache-control": "no-store, max-age=3600"}), Step("whole")),
    "cc-resp-no-cache": (Step("whole", {"cache-control": "no-cache, max-age=3600"}), Step("whole")),
    "cc-resp-no-cache-revalidate": (
        Step("whole", {"cache-control": "public, no-cache", "etag": '"x"'}),
        Step("validated", {"cache-control": "public, no-cache", "etag": '"x"'}, after_s=0.1),
    ),
    "cc-resp-must-revalidate-stale": (
        Step("whole", _brief(", must-revalidate, stale-if-error=60")),
        Step("validated", _brief(", must-revalidate"), after_s=OLD_S),
        Step("whole", {"status": "503"}, status=503, after_s=OLD_S),
    ),
    "ccreq-no-cache": (Step("whole", FRESH), Step("whole", FRESH, {"cache-control": "no-cache"}), Step("kept")),
    "stale-while-revalidate": (Step("whole", _brief(", stale-while-revalidate=60")), Step("kept", after_s=OLD_S)),
    "stale-while-revalidate-window": (
        Step("whole", _brief(", stale-while-revalidate=1")),
        Step("validated", _brief(""), after_s=2.3),
    ),
    "stale-503": (Step("whole", _brief("")), Step("whole", {"status": "503"}, status=503, after_s=OLD_S)),
    "stale-sie-503": (
        Step("whole", _brief(", stale-if-error=60")),
        Step("kept", {"status": "503"}, after_s=OLD_S),
        Step("kept", {"status": "503"}),
        Step("validated", _brief(", stale-if-error=60")),
        Step("kept"),
    ),
    "vary-match": (
        Step("whole", {**FRESH, "vary": "foo"}, {"foo": "1"}),
        Step("kept", sends={"foo": "1"}),
        Step("whole", sends={"foo": "2"}),
        Step("whole"),
    ),
    "vary-star": (Step("whole", {**FRESH, "vary": "*"}), Step("whole")),
    "vary-syntax-foo-star": (Step("whole", {**FRESH, "vary": "foo, *"}), Step("whole")),
    "conditional-etag-strong-respond": (
        Step("whole", TAGGED),
        Step("kept", sends={"if-none-match": '"x"'}, status=304),
    ),
    "conditional-etag-strong-respond-multiple-last": (
        Step("whole", TAGGED),
        Step("kept", sends={"if-none-match": '"a", "x"'}, status=304),
        Step("kept", sends={"if-none-match": '"a", "xx"'}),
    ),
    "conditional-etag-weak-respond": (
        Step("whole", TAGGED),
        Step("kept", sends={"if-none-match": 'W/"x"'}, status=304),
    ),
    "conditional-etag-any": (Step("whole", TAGGED), Step("kept", sends={"if-none-match": "*"}, status=304)),
    "304-etag-update-response": (
        Step("whole", {**_brief(""), "x-said": "1"}),
        Step("validated", {**TAGGED, "x-said": "2"}, after_s=OLD_S, bears={"x-said": "2"}),
        Step("kept", bears={"x-said": "2", "cache-control": "max-age=3600"}),
    ),
    "invalidate-POST": (Step("whole", FRESH), Step("kept"), Step("whole", method="POST"), Step("whole")),
    "invalidate-POST-failed": (
        Step("whole", FRESH),
        Step("whole", {"status": "500"}, method="POST", status=500),
        Step("kept"),
    ),
    "method-HEAD": (Step("whole", FRESH), Step("kept", method="HEAD"), Step("kept")),
    "partial-store-complete-reuse-partial": (
        Step("whole", FRESH),
        Step("kept", sends={"range": "bytes=1-3"}, status=206, bears={"content-range": "bytes 1-3/6"}),
    ),
    "other-authorization": (Step("whole", FRESH, {"authorization": "Bearer a"}), Step("whole")),
    "other-authorization-public": (
        Step("whole", {"cache-control": "public, max-age=3600"}, {"authorization": "Bearer a"}),
        Step("kept"),
        Step("kept", sends={"authorization": "Bearer b"}),
    ),
    "cookie": (Step("whole", FRESH, {"cookie": "session=a"}), Step("whole")),
    "other-set-cookie": (Step("whole", {**FRESH, "set-cookie": "session=a"}), Step("whole")),
    "other-age-gen": (Step("whole", {**FRESH, "age": "40"}), Step("kept", after_s=1.1, bears={"age": "41"})),
    "cdn-max-age": (Step("whole", {"cdn-cache-control": "max-age=3600"}), Step("kept")),
    "cdn-max-age-age": (Step("whole", {"cdn-cache-control": "max-age=3600", "age": "7200"}), Step("whole")),
    "cdn-max-age-0": (Step("whole", {**FRESH, "cdn-cache-control": "max-age=0"}), Step("whole")),
    "cdn-no-store-cc-fresh": (Step("whole", {**FRESH, "cdn-cache-control": "no-store"}), Step("whole")),
    "cdn-private": (Step("whole", {**FRESH, "cdn-cache-control": "private"}), Step("whole")),
    "cdn-fresh-cc-nostore": (
        Step("whole", {"cache-control": "no-store", "cdn-cache-control": "max-age=3600"}),
        Step("kept"),
    ),
    "cdn-cc-invalid-sh-type-wrong": (
        Step("whole", {"cache-control": "no-store", "cdn-cache-control": 'max-age="3600"'}),
        Step("whole"),
    ),
}

numbers = count()


@pytest.mark.parametrize("name", CASES)
def test_the_cache_in_front_does_what_is_said(front: Front, name: str) -> None:
    path = f"/said/{name}/{next(numbers)}"
    for number, step in enumerate(CASES[name]):
        time.sleep(step.after_s)

        answer = front.ask(path, step.method, **{"x-say": json.dumps(step.says), **step.sends})

        came = "kept" if _is_kept(answer) else answer.headers.get("x-how", "made in front")
        assert (number, came, answer.status_code) == (number, step.comes, step.status)
        assert {header: answer.headers.get(header) for header in step.bears} == step.bears
        if answer.status_code == 200 and step.method == "GET":
            assert answer.text == "answer"


def test_answers_from_memory_are_kept_varied_and_validated_in_front(front: Front) -> None:
    front.keep("/dishes/2")
    kept = front.ask("/dishes/2")
    head = front.ask("/dishes/2", "HEAD")
    known = front.ask("/dishes/2", if_none_match=f'"other", W/{kept.headers["etag"]}')
    of_somebody = front.ask("/dishes/2", authorization="Bearer anything", cookie="session=1")
    packed = front.ask("/dishes/2", accept="application/msgpack")

    assert [_is_kept(answer) for answer in (kept, head, known, of_somebody, packed)] == [True, True, True, True, False]
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", kept.headers["etag"])
    assert (known.status_code, known.content) == (304, b"")
    assert packed.headers["etag"] != kept.headers["etag"]
    assert "age" in kept.headers


def test_an_answer_is_kept_for_each_value_of_a_header_that_is_an_input(front: Front) -> None:
    for _ in range(2):
        for lang in ("de", "fr"):
            assert front.ask("/dishes/2/label", accept_language=lang).json().startswith(f"{lang}: ")

    assert _is_kept(front.ask("/dishes/2/label", accept_language="de"))
    assert front.ask("/dishes/2/label", accept_language="de").headers["vary"] == "accept, accept-language"


def test_what_is_about_its_caller_is_given_to_nobody_else(front: Front) -> None:
    def token(name: str) -> str:
        done = toque("token", str(front.served.folder / "app"), "--sub", name, folder=front.served.folder)
        return f"Bearer {done.stdout.strip()}"

    for _ in range(3):
        for name in ("ann", "bob"):
            answer = front.ask("/mine", authorization=token(name))
            assert (answer.json().partition(":")[0], _is_kept(answer)) == (name, False)
            assert answer.headers["cache-control"].startswith("private")


def test_what_is_not_from_memory_is_asked_for_each_time(front: Front) -> None:
    for path, status in (("/anew", 200), ("/dishes/99", 404)):
        answers = [front.ask(path) for _ in range(3)]
        assert {(answer.status_code, _is_kept(answer)) for answer in answers} == {(status, False)}


def test_an_answer_past_memory_is_not_kept_in_its_place(front: Front) -> None:
    past = httpx.get(
        f"{front.served.url}/dishes/1", headers={"host": "localhost", "cache-control": "no-store"}, timeout=GIVE_UP_S
    )

    assert past.headers["cache-control"] == "no-cache"
    assert "cdn-cache-control" not in past.headers


def test_events_and_sockets_pass_the_cache_in_front(front: Front) -> None:
    # Its own answer, so that nobody else's change is an event.
    with httpx.stream(
        "GET", f"{front.url}/dishes/1", headers={"accept": "text/event-stream"}, timeout=GIVE_UP_S
    ) as live:
        lines = live.iter_lines()
        first = next(line for line in lines if line.startswith("data:"))
        price = json.loads(first[5:])["price"] + 1
        front.set_price(1, price)
        again = next(line for line in lines if line.startswith("data:"))
    assert json.loads(again[5:])["price"] == price

    with closing(socket.create_connection(("127.0.0.1", int(front.url.rpartition(":")[2])), GIVE_UP_S)) as wire:
        wire.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert wire.recv(1000).startswith(b"HTTP/1.1 101")


def test_old_answers_are_given_when_the_app_is_gone(tmp_path: Path) -> None:
    with _fronted(tmp_path) as front:
        front.keep("/old")
        front.ask("/said/good-enough", **{"x-say": json.dumps(_brief(", stale-if-error=60"))})
        front.ask("/said/too-old", **{"x-say": json.dumps(_brief(""))})
        front.served.stop()
        time.sleep(OLD_S)

        for path, status in (("/old", 200), ("/said/good-enough", 200), ("/said/too-old", 503), ("/dishes/2", 503)):
            answer = front.ask(path)
            assert (path, answer.status_code, _is_kept(answer)) == (path, status, status == 200)
