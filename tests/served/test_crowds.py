"""More callers than two connections can serve: who is served is counted, how fast is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from running import Served, serving, toque
from wire import Reply, ask, get

pytestmark = pytest.mark.xdist_group("served")

SETTINGS = {"database.pool_size": 2, "database.waiting_max": 10}
HOGS = 40


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving("crowd", tmp_path_factory.mktemp("crowd"), settings=SETTINGS) as served:
        yield served


class Caller:
    """Somebody of one tenant."""

    def __init__(self, crowd: Served, tenant: str) -> None:
        home = crowd.folder / "app"
        words = ("--sub", tenant, "--tenant", tenant)
        self._token = toque("token", str(home), *words, folder=crowd.folder, settings=SETTINGS).stdout.strip()
        self._port = crowd.port

    def ask(self, path: str, *headers: str) -> Reply:
        reply = ask(self._port, get(path, f"Authorization: Bearer {self._token}", *headers))
        assert reply is not None
        return reply


def crowding(caller: Caller, path: str, is_over: Event, *headers: str) -> Counter[int]:
    """Ask again and again, whatever the answer is."""
    found: Counter[int] = Counter()
    while not is_over.is_set():
        reply = caller.ask(path, *headers)
        found[reply.status] += 1
        if reply.status == 503:
            assert reply.code == "overloaded"
            assert int(reply.header("retry-after") or 0) >= 1
    return found


def beside(
    crowd: Served, hog: tuple[str, ...], few: list[tuple[str, str]], times: int = 20
) -> tuple[Counter[int], list[Counter[int]]]:
    """What a crowd that asks for *hog* was answered, and what each of *few*, tenant and path, beside it."""
    is_over = Event()
    hogs, callers = Caller(crowd, "hog"), [(Caller(crowd, tenant), path) for tenant, path in few]
    with ThreadPoolExecutor(HOGS + len(few)) as threads:
        crowds = [threads.submit(crowding, hogs, hog[0], is_over, *hog[1:]) for _ in range(HOGS)]
        asked = [
            threads.submit(lambda caller=caller, path=path: Counter(caller.ask(path).status for _ in range(times)))
            for caller, path in callers
        ]
        try:
            answered = [each.result() for each in asked]
        finally:
            is_over.set()
        return sum((each.result() for each in crowds), Counter()), answered


def test_small_tenants_are_served_beside_one_that_asks_for_too_much(crowd: Served) -> None:
    hog, small = beside(crowd, ("/work",), [(f"small{number}", "/work") for number in range(3)])

    assert small == [Counter({200: 20})] * 3
    assert hog[503] > 0
    assert hog[200] > 0


@pytest.mark.parametrize("path", ["/sheddable", "/work"])
def test_critical_calls_pass_a_full_line_of_the_same_tenant(crowd: Served, path: str) -> None:
    others, critical = beside(crowd, (path,), [("hog", "/critical")])

    assert critical == [Counter({200: 20})]
    assert others[503] > 0


def test_a_caller_may_lower_its_calls_and_raises_none(crowd: Served) -> None:
    lowered, normal = beside(crowd, ("/work", "X-Priority: sheddable"), [("hog", "/work")])

    assert normal == [Counter({200: 20})]
    assert lowered[503] > 0

    refused = Caller(crowd, "hog").ask("/work", "X-Priority: urgent")
    assert (refused.status, refused.code) == (400, "bad_request")
