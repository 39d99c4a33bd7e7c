"""A real cache in front (Varnish), which is told what to forget, as docs/guides/caching.md says to set it up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import GIVE_UP_S, Served, serving, until

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
        return first["price"], len(answer.headers["x-varnish"].split()) == 2

    def set_price(self, number: int, price: int) -> None:
        httpx.post(f"{self.url}/dishes/{number}", json={"price": price}, timeout=GIVE_UP_S).raise_for_status()

    def keep(self, path: str) -> None:
        """Come back when Varnish has *path* and gives it."""
        until(lambda: self.get(path)[1], f"{path} to be kept in front")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    program = shutil.which("varnishd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI must test with a cache in front: install Debian's varnish")
        pytest.skip("no varnishd: install Debian's varnish")
    port, folder = free_port(), tmp_path_factory.mktemp("front")
    settings = {
        "cache.purge_url": f"http://127.0.0.1:{port}/",
        "cache.purge_method": "PURGE",
        "cache.edge_s": 3600,
        "calls.deadline_s": 2,
    }
    with serving("menu", folder, settings=settings) as served:
        file = folder / "front.vcl"
        file.write_text(_configuration(served.port))
        words = [program, "-j", "none", "-F", "-a", f"127.0.0.1:{port}", "-f", str(file), "-n", str(folder / "varnish")]
        with (folder / "varnish.txt").open("w") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            found = Front(served, f"http://127.0.0.1:{port}")
            until(lambda: process.poll() is not None or _answers(found.url), "Varnish to answer")
            assert process.poll() is None, (folder / "varnish.txt").read_text()
            yield found
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(GIVE_UP_S)


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
