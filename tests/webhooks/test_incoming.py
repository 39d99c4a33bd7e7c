"""Webhooks in: proven by their bytes, over HTTP alone, before anything of them is decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Mapped, mapped_column

from own_models import ShopBase
from toque import App, Database, Struct, authenticated, public, role, webhook
from toque.contract.complaints import SetupError
from toque.contract.errors import Forbidden, Unauthenticated
from toque.contract.principal import Principal, WebhookSender
from toque.messages.webhooks.keys import new_pair, new_secret, signing_key
from toque.messages.webhooks.signing import sign
from toque.settings import Secret, Settings, Webhooks
from toque.testing import running

OLD, NEW, STRANGER = new_secret(), new_secret(), new_secret()
PRIVATE, PUBLIC = new_pair()


def settings_with(*keys: str, **more: Any) -> Settings:
    return Settings(webhooks=Webhooks(keys=tuple(Secret(key) for key in keys)), **more)


SETTINGS = settings_with(f"payments={NEW}", f"payments={OLD}", f"parcels={PUBLIC}")


class Paid(Struct):
    type: str
    amount: int


class Payment(ShopBase, shared=True):
    __tablename__ = "webhook_payment"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]


app = App("shop", metadata=Payment.metadata)


@app.command("/hooks/payments", allow=webhook("payments"), is_idempotent=True)
async def paid(message: Paid, db: Database, who: Principal) -> str:
    await db.execute(insert(Payment).values(amount=message.amount))
    return who.subject


@app.command("/hooks/parcels", allow=webhook("parcels") | role("clerk"))
async def parcel(type: str, amount: int) -> str:
    return f"{type} {amount}"


@app.query("/count", allow=public)
async def payments(db: Database) -> list[int]:
    return await db.all(int, select(Payment.amount))


BODY = b'{"type":"paid","amount":7}'


def signed(key: str = NEW, body: bytes = BODY, *, id: str = "msg_1", late_s: int = 0) -> dict[str, str]:
    headers = sign([signing_key(key)], id, int(time.time()) - late_s, body)
    return {"content-type": "application/json", **headers}


@pytest.mark.parametrize("key", [NEW, OLD], ids=["new", "old"])
async def test_a_signed_message_is_taken(key: str) -> None:
    async with running(app, settings=SETTINGS) as shop:
        answer = await shop.post("/hooks/payments", content=BODY, headers=signed(key))
        in_pieces = await shop.post("/hooks/payments", content=[BODY[:5], BODY[5:]], headers=signed(key, id="msg_2"))

        assert (answer.status, answer.json()) == (200, "webhook:payments")
        assert in_pieces.status == 200
        assert (await shop.get("/count")).json() == [7, 7]


@pytest.mark.parametrize(
    "sent",
    [
        lambda: {"content-type": "application/json"},
        lambda: signed(STRANGER),
        lambda: signed(PRIVATE),
        lambda: signed(NEW, BODY + b" "),
        lambda: signed(late_s=310),
        lambda: signed(late_s=-310),
        lambda: {**signed(), "webhook-id": "msg_2"},
    ],
)
async def test_a_message_that_is_not_signed_as_it_should_be_does_nothing(sent: Callable[[], dict[str, str]]) -> None:
    async with running(app, settings=SETTINGS) as shop:
        answer = await shop.post("/hooks/payments", content=BODY, headers=sent())

        assert (answer.status, answer.json()["code"]) == (401, "unauthenticated")
        assert (await shop.get("/count")).json() == []


async def test_nothing_is_decoded_for_who_is_not_proven() -> None:
    """What is wrong with a body would be told, and its decoder be run, for anybody."""
    bad = b'{"type": "x", "amount"'
    async with running(app, settings=SETTINGS) as shop:
        unproven = await shop.post("/hooks/payments", content=bad, headers=signed(STRANGER, bad))
        proven = await shop.post("/hooks/payments", content=bad, headers=signed(NEW, bad))

    assert (unproven.json()["code"], proven.json()["code"]) == ("unauthenticated", "malformed")


async def test_a_message_that_comes_again_does_nothing_more() -> None:
    async with running(app, settings=SETTINGS) as shop:
        answers = [await shop.post("/hooks/payments", content=BODY, headers=signed(late_s=n)) for n in range(20)]

        assert {answer.status for answer in answers} == {200}
        assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, *["true"] * 19]
        assert (await shop.get("/count")).json() == [7]


async def test_a_webhooks_key_opens_no_other_webhook() -> None:
    async with running(app, settings=SETTINGS) as shop:
        wrong = await shop.post("/hooks/parcels", content=BODY, headers=signed(NEW))
        right = await shop.post("/hooks/parcels", content=BODY, headers=signed(PRIVATE))

    assert wrong.status == 401
    assert (right.status, right.json()) == (200, "paid 7")


async def test_a_rule_can_take_people_beside_a_webhook() -> None:
    clerk, cook = Principal(subject="ana", roles=frozenset({"clerk"})), Principal(subject="bob")
    async with running(app, settings=SETTINGS) as shop:
        answers = [
            await shop.post("/hooks/parcels", json={"type": "paid", "amount": 7}, principal=who)
            for who in (clerk, cook)
        ]

    assert [answer.status for answer in answers] == [200, 403]


async def test_no_token_claims_to_be_a_webhook() -> None:
    liar = Principal(subject="webhook:payments", roles=frozenset({"webhook"}), claims={"webhook": "payments"})
    async with running(app, settings=SETTINGS) as shop:
        answer = await shop.post("/hooks/payments", json={"type": "paid", "amount": 7}, principal=liar)

    assert answer.status == 403


async def test_only_http_carries_a_webhook() -> None:
    async with running(app, settings=SETTINGS) as shop:
        call = {"jsonrpc": "2.0", "id": 1, "method": "shop.paid", "params": {"message": {"type": "paid", "amount": 7}}}
        body = msgspec.json.encode(call)
        answer = await shop.post("/rpc", content=body, headers=signed(NEW, body))
        with pytest.raises(Unauthenticated):
            await shop.call("shop.paid", message=Paid("paid", 7))
        with pytest.raises(Forbidden):
            await shop.call("shop.paid", message=Paid("paid", 7), principal=Principal(subject="ana"))
        as_sender = await shop.call("shop.paid", message=Paid("paid", 7), principal=WebhookSender.of("payments"))

    assert answer.json()["error"]["data"]["code"] == "unauthenticated"
    assert as_sender == "webhook:payments"


async def test_a_message_larger_than_allowed_is_refused() -> None:
    big = b'{"type":"' + b"x" * (1 << 20) + b'","amount":1}'
    async with running(app, settings=SETTINGS) as shop:
        answer = await shop.post("/hooks/payments", content=big, headers=signed(NEW, big))

    assert answer.status == 413


async def test_the_documents_say_how_a_message_is_signed() -> None:
    async with running(app, settings=SETTINGS) as shop:
        document = (await shop.get("/openapi.json")).json()

    assert document["paths"]["/hooks/payments"]["post"]["security"] == [{"webhook": []}]
    assert document["paths"]["/hooks/parcels"]["post"]["security"] == [{"webhook": []}, {"bearer": []}]
    assert document["components"]["securitySchemes"]["webhook"]["name"] == "webhook-signature"


def _app(path: str | None, function: Any, *, webhooks: tuple[str, ...] = ("payments",)) -> App:
    made = App("shop")
    made.command(path, allow=webhook(*webhooks))(function)
    return made


async def takes_stream(body: bytes) -> None: ...


async def takes_nothing() -> None: ...


async def takes_paid(message: Paid) -> None: ...


@pytest.mark.parametrize(
    ("made", "settings", "told"),
    [
        (_app("/h", takes_nothing), SETTINGS, "a webhook is a body"),
        (_app(None, takes_paid), SETTINGS, "it has no path"),
        (_app("/h", takes_paid), settings_with(f"payment={NEW}"), "did you mean 'payment'"),
        (_app("/h", takes_paid), Settings(), "TOQUE_WEBHOOKS_KEYS=payments=whsec_"),
        (_app("/h", takes_paid), settings_with("payments=whsec_AAAA"), "payments: a whsec_ secret has 24 to 64 bytes"),
        (_app("/h", takes_paid), settings_with(NEW), "an entry: a key begins with"),
    ],
)
def test_a_wrong_set_up_is_told_at_start(made: App, settings: Settings, told: str) -> None:
    with pytest.raises(SetupError) as refused:
        made.serve(settings)

    assert told in str(refused.value)
    assert NEW[6:20] not in str(refused.value)


def test_an_app_of_webhooks_alone_needs_no_keys_for_tokens() -> None:
    from toque.settings import App as AppSettings
    from toque.settings import Http

    production = {"app": AppSettings(environment="production"), "http": Http(hosts=("shop.example",))}
    _app("/h", takes_paid).serve(settings_with(f"payments={NEW}", **production))
    guarded = App("shop")
    guarded.command("/h", allow=webhook("payments") | authenticated)(takes_paid)
    with pytest.raises(SetupError, match="auth"):
        guarded.serve(settings_with(f"payments={NEW}", **production))
