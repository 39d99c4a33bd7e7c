"""Requests to real servers on this machine: what reaches them, what comes back, and what is never sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme
from msgspec import Struct

import receiver as answers
from receiver import answer, receiving
from toque import App, HttpClient, public
from toque.call.context import Context
from toque.contract.complaints import SetupError
from toque.contract.errors import DeadlineExceeded
from toque.http_client.addresses import Address
from toque.http_client.failures import AddressRefused, BadAnswer, Interrupted, Unreachable
from toque.http_client.outgoing import Outgoing
from toque.settings import HttpClient as ClientSettings
from toque.settings import Settings
from toque.testing import running

HERE = ("127.0.0.1:*",)


class Names:
    """A name server: for each name its answers, one after the other; the last one is for all that follow."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = {name.replace("_", "."): text.split() for name, text in addresses.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        left = self.addresses[host]
        found = left.pop(0) if len(left) > 1 else left[0]
        return [ip_address(text) for text in found.split("+")]


@asynccontextmanager
async def client(
    *, allow: Sequence[str] = HERE, names: Names | None = None, deadline_s: float = 5.0, **settings: Any
) -> AsyncIterator[HttpClient]:
    outgoing = Outgoing(ClientSettings(allow=tuple(allow), **settings), names)
    try:
        yield HttpClient(Context.within("test", deadline_s), outgoing)
    finally:
        await outgoing.stop()


async def test_a_request_arrives_as_it_was_meant_and_its_answer_comes_back() -> None:
    async with receiving(answer(201, b'{"id": 7}', x_a="1")) as shop, client() as http:
        response = await http.post(shop.url("/orders"), query={"dry": 1}, headers={"X-Shop": "7"}, json={"table": 4})

    class Made(Struct):
        id: int

    (received,) = shop.requests
    assert (received.method, received.path, received.body) == ("POST", "/orders?dry=1", b'{"table":4}')
    assert received.headers["host"] == f"127.0.0.1:{shop.port}"
    assert (received.headers["x-shop"], received.headers["content-type"]) == ("7", "application/json")
    assert (response.status, response.headers["x-a"], response.json(Made)) == (201, "1", Made(7))


async def test_the_trace_and_what_is_left_of_the_time_go_along() -> None:
    incoming = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with receiving() as shop:
        outgoing = Outgoing(ClientSettings(allow=HERE))
        context = Context.within("test", 2.0)
        context.traceparent = incoming
        await HttpClient(context, outgoing).get(shop.url())
        await outgoing.stop()

    headers = shop.requests[0].headers
    assert headers["traceparent"] == context.trace.traceparent()
    assert headers["traceparent"].split("-")[1] == incoming.split("-")[1]
    assert 0 < int(headers["x-timeout-ms"]) < 2000


async def test_connections_are_kept_for_the_next_request() -> None:
    async with receiving() as shop, client() as http:
        for _ in range(5):
            await http.get(shop.url())

    assert (len(shop.requests), shop.connections) == (5, 1)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0177.0.0.1"],
)
async def test_this_machine_is_closed_however_it_is_written(host: str) -> None:
    async with receiving() as secret, client(allow=()) as http:
        with pytest.raises((AddressRefused, Unreachable)):
            await http.get(f"http://{host}:{secret.port}/")

    assert secret.connections == 0


async def test_the_refusal_tells_a_caller_the_name_and_the_log_the_address(caplog: pytest.LogCaptureFixture) -> None:
    async with client(names=Names(wiki_internal="10.1.2.3"), allow=()) as http:
        with pytest.raises(AddressRefused) as refused:
            await http.get("http://wiki.internal/")

    assert "10.1.2.3" not in str(refused.value.problem())
    assert "10.1.2.3" in caplog.text


async def test_a_name_is_looked_up_once_and_what_was_checked_is_what_is_dialled() -> None:
    """DNS rebinding: a name that is asked twice is allowed the first time and this machine the second."""
    names = Names(shop_example="127.0.0.2 127.0.0.1")
    async with (
        receiving(host="127.0.0.2") as allowed,
        receiving(host="127.0.0.1", port=allowed.port) as secret,
        client(allow=["127.0.0.2:*"], names=names) as http,
    ):
        await http.get(f"http://shop.example:{allowed.port}/")

    assert names.asked == ["shop.example"]
    assert (len(allowed.requests), secret.connections) == (1, 0)
    assert allowed.requests[0].headers["host"] == f"shop.example:{allowed.port}"


async def test_a_name_that_turns_to_this_machine_later_is_refused_then() -> None:
    names = Names(shop_example="127.0.0.2 127.0.0.1")
    closing = answer(connection="close")
    async with (
        receiving(closing, host="127.0.0.2") as allowed,
        receiving(host="127.0.0.1", port=allowed.port) as secret,
        client(allow=["127.0.0.2:*"], names=names) as http,
    ):
        await http.get(f"http://shop.example:{allowed.port}/")
        with pytest.raises(AddressRefused):
            await http.get(f"http://shop.example:{allowed.port}/")

    assert secret.connections == 0


async def test_a_name_with_one_closed_address_is_refused_as_a_whole() -> None:
    names = Names(shop_example="127.0.0.2+10.0.0.1")
    async with receiving(host="127.0.0.2") as shop, client(allow=["127.0.0.2:*"], names=names) as http:
        with pytest.raises(AddressRefused):
            await http.get(f"http://shop.example:{shop.port}/")

    assert shop.connections == 0


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    names = Names(shop_example="127.0.0.3+127.0.0.2")
    async with receiving(host="127.0.0.2") as shop, client(allow=["127.0.0.0/8:*"], names=names) as http:
        response = await http.get(f"http://shop.example:{shop.port}/")

    assert response.status == 200


async def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    asked: list[str | None] = []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.sni_callback = lambda _, name, __: asked.append(name)
    authority.issue_cert("shop.example").configure_cert(tls)
    names = Names(shop_example="127.0.0.1", other_example="127.0.0.1")

    async with receiving(tls=tls) as shop:
        async with client(names=names, ca_file=tmp_path / "ca.pem") as http:
            response = await http.get(f"https://shop.example:{shop.port}/")
            with pytest.raises(Unreachable) as refused:
                await http.get(f"https://other.example:{shop.port}/")
        async with client(names=names) as stranger:
            with pytest.raises(Unreachable):
                await stranger.get(f"https://shop.example:{shop.port}/")

    assert (response.status, asked[0]) == (200, "shop.example")
    assert "other.example" in refused.value.reason
    assert len(shop.requests) == 1


async def test_a_redirect_is_an_answer_unless_somebody_asked_to_follow() -> None:
    async with receiving(answer(302, location="/there"), answer(200, b"there")) as shop, client() as http:
        stopped = await http.get(shop.url())
        followed = await http.get(shop.url(), redirects_max=1)

    assert (stopped.status, followed.status, followed.body) == (302, 200, b"there")


async def test_a_redirect_to_this_machine_is_refused() -> None:
    async with receiving() as secret:
        location = f"http://127.0.0.1:{secret.port}/admin"
        redirecting = answer(307, location=location)
        async with receiving(redirecting, host="127.0.0.2") as shop, client(allow=["127.0.0.2:*"]) as http:
            with pytest.raises(AddressRefused):
                await http.get(shop.url(), redirects_max=5)

    assert secret.connections == 0


async def test_a_circle_of_redirects_ends() -> None:
    async with receiving(answer(302, location="/")) as shop, client() as http:
        response = await http.get(shop.url(), redirects_max=4)

    assert (response.status, len(shop.requests)) == (302, 5)


async def test_secrets_do_not_follow_to_another_host() -> None:
    secrets = {"authorization": "Bearer a", "cookie": "b", "x-plain": "c"}
    async with (
        receiving(host="127.0.0.2") as other,
        receiving(answer(302, location=other.url("/x"))) as shop,
        client(allow=["127.0.0.0/8:*"]) as http,
    ):
        await http.post(shop.url(), headers=secrets, json={}, redirects_max=1)

    (received,) = other.requests
    assert received.method == "GET"
    assert received.headers.keys() & {"authorization", "cookie", "content-type", "x-plain"} == {"x-plain"}


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as shop, client() as http:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        await http.get(shop.url())

    assert (len(shop.requests), proxy.connections) == (1, 0)


@pytest.mark.parametrize(
    ("answering", "failure"),
    [
        (answers.never_ends, BadAnswer),
        (answer(200, b"x" * 2000), BadAnswer),
        (answers.says_more_than_it_has, Interrupted),
        (answers.speaks_no_http, Interrupted),
        (answers.drops, Interrupted),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", Interrupted),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk", Interrupted),
    ],
)
async def test_a_bad_answer_ends_within_limits(answering: Any, failure: type[Exception]) -> None:
    async with receiving(answering) as shop, client() as http:
        with pytest.raises(failure):
            await http.post(shop.url(), bytes_max=1000)

    assert len(shop.requests) == 1


async def test_what_comes_after_the_stated_length_is_nobodys_answer() -> None:
    async with receiving(answers.has_more_than_it_says) as shop, client() as http:
        first = await http.get(shop.url())
        second = await http.get(shop.url())

    assert (first.body, second.body, shop.connections) == (b"ok", b"ok", 2)


@pytest.mark.parametrize("answering", [answers.keeps_silent, answers.trickles])
async def test_a_slow_answer_ends_with_the_requests_time(answering: Any) -> None:
    async with receiving(answering) as shop, client() as http:
        with pytest.raises(Interrupted):
            await http.get(shop.url(), timeout_s=0.2)


@pytest.mark.parametrize("answering", [answers.keeps_silent, answers.trickles])
async def test_the_calls_deadline_ends_every_request(answering: Any) -> None:
    async with receiving(answering) as shop, client(deadline_s=0.2) as http:
        with pytest.raises(DeadlineExceeded):
            await http.get(shop.url(), timeout_s=60)


async def test_a_request_that_broke_is_tried_again_only_where_that_is_safe() -> None:
    async with receiving(answers.drops) as shop, client() as http:
        for method, headers, tries in [
            ("POST", {}, 1),
            ("PATCH", {}, 1),
            ("GET", {}, 3),
            ("PUT", {}, 3),
            ("POST", {"Idempotency-Key": "7"}, 3),
        ]:
            shop.requests.clear()
            with pytest.raises(Interrupted):
                await http.request(method, shop.url(), headers=headers)
            assert len(shop.requests) == tries, method


@pytest.mark.parametrize(
    ("reply", "tries"),
    [
        (answer(503, retry_after="0"), 3),
        (answer(429, retry_after="0"), 3),
        (answer(503), 1),
        (answer(503, retry_after="3600"), 1),
        (answer(500, retry_after="0"), 1),
        (answer(502), 1),
    ],
)
async def test_only_who_asks_for_it_is_asked_again(reply: bytes, tries: int) -> None:
    async with receiving(reply) as shop, client() as http:
        response = await http.post(shop.url())

    assert (response.status >= 429, len(shop.requests)) == (True, tries)


async def test_retries_are_a_share_of_what_succeeds() -> None:
    asking = answer(503, retry_after="0")
    async with receiving(asking) as shop, client(deadline_s=30) as http:
        for _ in range(40):
            await http.get(shop.url())
        while_failing = len(shop.requests)
        shop.answers[:] = [answer()]
        for _ in range(25):
            await http.get(shop.url())
        shop.requests.clear()
        shop.answers[:] = [asking]
        for _ in range(10):
            await http.get(shop.url())

    assert while_failing == 40 + 10
    assert len(shop.requests) == 10 + 2


async def test_each_target_has_retries_of_its_own() -> None:
    async with receiving(answers.drops) as bad, receiving(answers.drops, answer()) as good, client() as http:
        for _ in range(10):
            with pytest.raises(Interrupted):
                await http.get(bad.url())

        assert (await http.get(good.url())).status == 200


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\0b", "ä\u2028"])
async def test_a_header_with_a_line_break_is_an_error_at_the_call(value: str) -> None:
    async with receiving() as shop, client() as http:
        with pytest.raises(ValueError):  # noqa: PT011 - h11's own words, or those of the codec
            await http.get(shop.url(), headers={"x-shop": value})

    assert shop.requests == []


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "traceparent"])
async def test_headers_that_the_client_writes_are_nobody_elses(name: str) -> None:
    async with client() as http:
        with pytest.raises(ValueError, match="leave it out"):
            await http.get("http://127.0.0.1/", headers={name: "x"})


async def test_json_of_another_shape_is_the_others_fault() -> None:
    async with receiving(answer(200, b'{"id": "x"}'), answer(404, b'{"id": 1}')) as shop, client() as http:

        class Found(Struct):
            id: int

        for _ in range(2):
            response = await http.get(shop.url())
            with pytest.raises(BadAnswer):
                response.json(Found)


async def test_an_operation_asks_for_the_client_by_type() -> None:
    app = App("shop")

    @app.query("/stock", allow=public)
    async def stock(url: str, http: HttpClient) -> str:
        return (await http.get(url)).expect().body.decode()

    async with receiving(answer(200, b"12")) as shop:
        settings = Settings(http_client=ClientSettings(allow=(f"127.0.0.1:{shop.port}",)))
        async with running(app, settings=settings) as harness:
            found = await harness.get(f"/stock?url={shop.url()}")
            refused = await harness.get("/stock?url=http://169.254.169.254/latest/meta-data/")
            wrong = await harness.get("/stock?url=gopher://x/")

    assert (found.status, found.json()) == (200, "12")
    assert (refused.status, refused.json()["code"]) == (422, "address_refused")
    assert wrong.status == 500


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"allow": ("http://x",)}, "http_client.allow"), ({"ca_file": Path("/nowhere.pem")}, "http_client.ca_file")],
)
async def test_wrong_settings_are_told_at_start(settings: Any, told: str) -> None:
    with pytest.raises(SetupError, match=told):
        App("shop").serve(Settings(http_client=ClientSettings(**settings)))


async def test_a_cancelled_request_leaves_no_connection_in_use() -> None:
    async with receiving(answers.keeps_silent) as shop, client(connections_max=1) as http:
        task = asyncio.create_task(http.get(shop.url()))
        while not shop.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        shop.answers[:] = [answer()]

        assert (await http.get(shop.url())).status == 200
