"""One try against a real receiver that answers anything: an outcome every time, within its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from standardwebhooks import Webhook

import receiver as answers
from receiver import answer, receiving
from toque.http_client.outgoing import Outgoing
from toque.messages.webhooks.keys import new_pair, new_secret, verifying_key
from toque.messages.webhooks.outcome import KEPT_BYTES_MAX, Outcome
from toque.messages.webhooks.sending import Message, deliver
from toque.messages.webhooks.signing import verify
from toque.settings import HttpClient

MESSAGE = Message("msg_1", b'{"type":"order.placed"}')


@asynccontextmanager
async def outgoing(*allow: str) -> AsyncIterator[Outgoing]:
    made = Outgoing(HttpClient(allow=allow or ("127.0.0.1:*",)))
    try:
        yield made
    finally:
        await made.stop()


async def tried(answering: Any, timeout_s: float = 2.0) -> tuple[Outcome, int]:
    async with receiving(answering) as shop, outgoing() as out:
        outcome = await deliver(out, shop.url("/hooks"), (new_secret(),), MESSAGE, timeout_s)
        return outcome, len(shop.requests)


async def test_a_receiver_verifies_what_arrives() -> None:
    secret, older, (private, public) = new_secret(), new_secret(), new_pair()
    async with receiving(answer(204)) as shop, outgoing() as out:
        outcome = await deliver(out, shop.url("/hooks?a=b"), (secret, older, private), MESSAGE, 2.0)

    (received,) = shop.requests
    assert (outcome.verdict, outcome.status) == ("delivered", 204)
    assert (received.method, received.path, received.body) == ("POST", "/hooks?a=b", MESSAGE.body)
    assert received.headers["content-type"] == "application/json"
    for key in (secret, older):
        Webhook(key).verify(received.body, received.headers)
    now = int(received.headers["webhook-timestamp"])
    assert verify([verifying_key(public)], received.headers.get, received.body, now=now) == "msg_1"


@pytest.mark.parametrize(
    ("answering", "verdict", "status", "reason"),
    [
        (answer(200, b"thanks"), "delivered", 200, "thanks"),
        (answer(500, b"broken"), "failed", 500, "broken"),
        (answer(410), "gone", 410, ""),
        (answer(302, location="http://127.0.0.1/"), "failed", 302, ""),
        (answers.drops, "failed", None, "disconnected"),
        (answers.speaks_no_http, "failed", None, "illegal status line"),
        (answers.keeps_silent, "failed", None, "no answer within"),
        (answers.trickles, "failed", None, "no answer within"),
        (answers.says_more_than_it_has, "failed", None, "closed"),
        (answers.has_more_than_it_says, "delivered", 200, "ok"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", "failed", None, "too long"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "failed", None, "Content-Length"),
    ],
)
async def test_every_answer_is_an_outcome(answering: Any, verdict: str, status: int | None, reason: str) -> None:
    is_slow = answering in (answers.keeps_silent, answers.trickles)
    outcome, requests = await tried(answering, timeout_s=0.3 if is_slow else 20)

    assert (outcome.verdict, outcome.status, requests) == (verdict, status, 1)
    assert reason.lower() in outcome.reason.lower()


async def test_of_an_answer_no_more_than_a_kibibyte_is_kept() -> None:
    endless, _ = await tried(answers.never_ends)
    large, _ = await tried(answer(500, b"y" * 100_000))

    assert (endless.verdict, endless.status) == ("delivered", 200)
    assert [len(endless.reason), len(large.reason)] == [KEPT_BYTES_MAX, KEPT_BYTES_MAX]


async def test_a_receiver_says_when_to_come_again() -> None:
    outcome, _ = await tried(answer(429, retry_after="120"))

    assert (outcome.verdict, outcome.retry_after_s) == ("throttled", 120.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_nothing_goes_to_a_private_address_and_its_owner_does_not_learn_of_it(host: str) -> None:
    async with receiving() as secret, outgoing("10.0.0.0/8:*") as out:
        outcome = await deliver(out, f"http://{host}:{secret.port}/", (new_secret(),), MESSAGE, 2.0)

    assert (outcome.verdict, secret.connections) == ("failed", 0)
    assert "loopback" not in outcome.reason


async def test_a_redirect_is_not_followed_to_this_machine() -> None:
    async with receiving() as secret:
        redirecting = answer(307, location=secret.url("/admin"))
        async with receiving(redirecting, host="127.0.0.2") as shop, outgoing("127.0.0.0/8:*") as out:
            outcome = await deliver(out, shop.url(), (new_secret(),), MESSAGE, 2.0)

    assert (outcome.status, secret.connections) == (307, 0)


async def test_what_cannot_be_sent_is_an_outcome_too() -> None:
    async with outgoing() as out:
        for url, keys in [("ftp://x/", (new_secret(),)), ("http://127.0.0.1:1/", ()), ("http://127.0.0.1:1/", ("x",))]:
            assert (await deliver(out, url, keys, MESSAGE, 2.0)).verdict == "failed"
