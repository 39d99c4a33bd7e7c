"""Signatures by Standard Webhooks 1.0, against the standard's own library and against `cryptography`."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from toque.messages.webhooks.keys import new_pair, new_secret, public_of, signing_key, verifying_key
from toque.messages.webhooks.signing import Unverified, sign, verify

BODY = b'{"type": "order.placed"}'
NOW = int(time.time())


def headers_of(mapping: Mapping[str, str]) -> Callable[[str], str | None]:
    return mapping.get


def test_the_specifications_own_example_holds() -> None:
    """The example in Standard Webhooks' reference tests (libraries/python/tests)."""
    secret, id, at = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    body = b'{"test": 2432232314}'

    signed = sign([signing_key(secret)], id, at, body)

    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert verify([verifying_key(secret)], headers_of(signed), body, now=at) == id


@given(body=st.text(max_size=200).map(lambda text: json.dumps({"text": text}).encode()))
def test_the_standards_library_verifies_what_is_signed_here(body: bytes) -> None:
    secret = new_secret()

    signed = sign([signing_key(new_secret()), signing_key(secret)], "msg_1", int(time.time()), body)

    assert Webhook(secret).verify(body, signed) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, signed)


@given(text=st.text(max_size=200))
def test_what_the_standards_library_signs_is_verified_here(text: str) -> None:
    secret, now = new_secret(), datetime.now(UTC)
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, text),
    }

    assert verify([verifying_key(secret)], headers_of(signed), text.encode(), now=time.time()) == "msg_1"


def test_ed25519_signatures_are_those_of_cryptography() -> None:
    private, public = new_pair()
    seed = base64.b64decode(private.removeprefix("whsk_"))[:32]
    theirs = Ed25519PrivateKey.from_private_bytes(seed)
    content = f"msg_1.{NOW}.".encode() + BODY

    signed = sign([signing_key(private)], "msg_1", NOW, BODY)
    version, _, text = signed["webhook-signature"].partition(",")
    Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"))).verify(
        base64.b64decode(text), content
    )
    signed["webhook-signature"] = "v1a," + base64.b64encode(theirs.sign(content)).decode()

    assert version == "v1a"
    assert verify([verifying_key(public)], headers_of(signed), BODY, now=NOW) == "msg_1"
    assert public_of(private) == public


def test_a_seed_alone_is_a_key_too() -> None:
    private, public = new_pair()
    seed = "whsk_" + base64.b64encode(base64.b64decode(private.removeprefix("whsk_"))[:32]).decode()

    signed = sign([signing_key(seed)], "msg_1", NOW, BODY)

    assert verify([verifying_key(public)], headers_of(signed), BODY, now=NOW) == "msg_1"


def test_one_of_several_keys_is_enough_on_either_side() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    signed = headers_of(sign([signing_key(new), signing_key(old)], "msg_1", NOW, BODY))

    assert verify([verifying_key(other), verifying_key(old)], signed, BODY, now=NOW) == "msg_1"
    with pytest.raises(Unverified):
        verify([verifying_key(other)], signed, BODY, now=NOW)


SECRET = new_secret()
SIGNED = sign([signing_key(SECRET)], "msg_1", NOW, BODY)


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({}, BODY + b" "),
        ({}, b""),
        ({"webhook-id": "msg_2"}, BODY),
        ({"webhook-id": ""}, BODY),
        ({"webhook-timestamp": str(NOW + 1)}, BODY),
        ({"webhook-timestamp": ""}, BODY),
        ({"webhook-timestamp": "nan"}, BODY),
        ({"webhook-timestamp": f" {NOW}"}, BODY),
        ({"webhook-timestamp": f"{NOW}.0"}, BODY),
        ({"webhook-timestamp": "٣" * 10}, BODY),
        ({"webhook-signature": ""}, BODY),
        ({"webhook-signature": SIGNED["webhook-signature"][3:]}, BODY),
        ({"webhook-signature": SIGNED["webhook-signature"].replace("v1,", "v1a,")}, BODY),
        ({"webhook-signature": SIGNED["webhook-signature"].replace("v1,", "v2,")}, BODY),
        ({"webhook-signature": SIGNED["webhook-signature"][:-5]}, BODY),
        ({"webhook-signature": "v1,"}, BODY),
        ({"webhook-signature": "v1,!"}, BODY),
        # The right one behind more than are looked at.
        ({"webhook-signature": "v1,AAAA " * 8 + SIGNED["webhook-signature"]}, BODY),
    ],
)
def test_what_was_changed_is_not_verified(changed: dict[str, str], body: bytes) -> None:
    with pytest.raises(Unverified):
        verify([verifying_key(SECRET)], headers_of({**SIGNED, **changed}), body, now=NOW)


def test_an_id_cannot_be_shifted_into_the_time() -> None:
    """`a.100` + `.` + time + body is the same text as `a` + `.` + `100` + `.` + time..."""
    content = f"a.{NOW}.{NOW}.x".encode()
    signature = "v1," + base64.b64encode(signing_key(SECRET).sign(content)).decode()

    shifted = {"webhook-id": f"a.{NOW}", "webhook-timestamp": str(NOW), "webhook-signature": signature}

    with pytest.raises(Unverified):
        verify([verifying_key(SECRET)], headers_of(shifted), b"x", now=NOW)
    with pytest.raises(ValueError, match="without"):
        sign([signing_key(SECRET)], "a.b", NOW, b"x")


@pytest.mark.parametrize(("off", "holds"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_message_holds_for_five_minutes(off: int, holds: bool) -> None:
    try:
        verify([verifying_key(SECRET)], headers_of(SIGNED), BODY, now=NOW + off)
    except Unverified:
        assert not holds
    else:
        assert holds


def test_a_secret_does_not_verify_what_only_a_public_key_could() -> None:
    """A receiver's public key is known to everybody: taken for a shared secret it would let anybody sign."""
    _, public = new_pair()
    known = signing_key("whsec_" + public.removeprefix("whpk_"))

    with pytest.raises(Unverified):
        verify([verifying_key(public)], headers_of(sign([known], "msg_1", NOW, BODY)), BODY, now=NOW)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "whsec_", "whsec_AAAA", "whsec_" + "A" * 200, "whpk_AAAA", "whsk_AAAA", "whsec_" + "ä" * 40],
)
def test_what_is_no_key_says_so_without_showing_it(text: str) -> None:
    for read in (signing_key, verifying_key):
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - each has words of its own
            read(text)
        assert text.partition("_")[2][:40] not in str(refused.value) or len(text) < 8


def test_a_key_does_not_show_itself() -> None:
    private, public = new_pair()

    shown = repr([signing_key(SECRET), signing_key(private), verifying_key(public)])

    assert SECRET[6:20] not in shown
    assert "b'" not in shown
