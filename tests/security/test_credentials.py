"""Bearer tokens: what proves a caller, and every known way to pretend."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from toque.contract.errors import Unauthenticated
from toque.security import credentials, key_source
from toque.security.credentials import Verifier
from toque.security.keys import UnusableKey, read_key, read_key_set
from toque.settings import Settings, load

RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
OKP = OKPKey.generate_key("Ed25519")
SHARED = "a shared secret of 32 bytes or more"

CLAIMS: dict[str, Any] = {"sub": "ana", "aud": "shop", "exp": 0, "roles": ["cook"], "scope": "read write"}


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: dict[str, Any], payload: Any, key: Any) -> str:
    """A token with any header and payload, rightly signed: joserfc's algorithms, none of its rules."""
    text = f"{part(header)}.{part(payload)}"
    signature = jws.JWSRegistry.algorithms[header["alg"]].sign(text.encode(), key)
    return f"{text}.{part(signature)}"


def token(*, key: Any = EC, alg: str = "ES256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    payload = {**CLAIMS, "exp": int(time.time()) + 60, **claims}
    return signed(
        {"alg": alg, **(header or {})},
        {name: value for name, value in payload.items() if value is not ...},
        key,
    )


def settings_with(**auth: str) -> Settings:
    names = {"audience": "shop", **auth}
    return load(None, {f"TOQUE_AUTH_{name}".upper(): value for name, value in names.items()}, {})


def verifier_with(**auth: str) -> Verifier:
    return Verifier(settings_with(**auth))


def pem(key: Any) -> str:
    text: bytes = key.as_pem(private=False)
    return text.decode()


@pytest.fixture
def verifier() -> Verifier:
    return verifier_with(key=pem(EC))


@pytest.mark.parametrize(
    ("key", "alg"),
    [(EC, "ES256"), (RSA, "RS256"), (RSA, "PS256"), (OKP, "EdDSA"), (OKP, "Ed25519")],
)
def test_a_token_signed_by_the_issuer_proves_its_subject(key: Any, alg: str) -> None:
    principal = verifier_with(key=pem(key)).verify(token(key=key, alg=alg, tenant="t1", extra=[1]))

    assert principal.subject == "ana"
    assert principal.roles == {"cook"}
    assert principal.scopes == {"read", "write"}
    assert principal.tenant == "t1"
    assert principal.claims["extra"] == [1]


def test_a_shared_secret_verifies_hmac_tokens() -> None:
    shared = OctKey.import_key(SHARED)

    assert verifier_with(key=SHARED).verify(token(key=shared, alg="HS256")).subject == "ana"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+JWT"])
def test_the_types_of_access_tokens_are_taken(verifier: Verifier, typ: str) -> None:
    assert verifier.verify(token(header={"typ": typ})).subject == "ana"


@pytest.mark.parametrize("aud", ["shop", ["till", "shop"]])
def test_an_audience_is_one_name_or_several(verifier: Verifier, aud: Any) -> None:
    assert verifier.verify(token(aud=aud)).subject == "ana"


def test_roles_may_lie_deeper_or_have_dots_in_their_name() -> None:
    verifier = verifier_with(key=pem(EC), roles_claim="realm_access.roles")

    assert verifier.verify(token(realm_access={"roles": ["a"]})).roles == {"a"}
    assert verifier.verify(token(**{"realm_access.roles": ["b"]})).roles == {"b"}
    assert verifier.verify(token(realm_access="c")).roles == frozenset()


def test_the_issuers_clock_may_be_off_by_the_leeway() -> None:
    verifier = verifier_with(key=pem(EC), leeway_s="30")
    now = int(time.time())

    assert verifier.verify(token(exp=now - 10)).subject == "ana"
    assert verifier.verify(token(nbf=now + 10, iat=now + 10)).subject == "ana"


def none_signed(alg: str) -> str:
    return f"{part({'alg': alg})}.{part({**CLAIMS, 'exp': time.time() + 60})}."


def with_public_key_as_secret() -> str:
    """HS/RS confusion: the public key, which everybody has, as the secret of an HMAC (CVE-2015-9256)."""
    import hashlib
    import hmac

    text = f"{part({'alg': 'HS256'})}.{part({**CLAIMS, 'exp': time.time() + 60})}"
    return f"{text}.{part(hmac.new(pem(EC).encode(), text.encode(), hashlib.sha256).digest())}"


def with_changed_claims() -> str:
    header, _, signature = token().split(".")
    return f"{header}.{part({**CLAIMS, 'sub': 'bob', 'exp': EXP})}.{signature}"


def with_claims(text: str) -> str:
    return signed({"alg": "ES256"}, text.encode(), EC)


EXP = int(time.time()) + 3600
ATTACKS: dict[str, Callable[[], str]] = {
    "alg none": lambda: none_signed("none"),
    "alg None": lambda: none_signed("None"),
    "alg none with a signature": lambda: none_signed("none") + "AAAA",
    "HS with the public key": with_public_key_as_secret,
    "another key": lambda: token(key=ECKey.generate_key("P-256")),
    "another kind of key": lambda: token(key=RSA, alg="RS256"),
    "no alg": lambda: part({}) + token()[len(part({"alg": "ES256"})) :],
    "alg is a list": lambda: part({"alg": ["ES256"]}) + token()[len(part({"alg": "ES256"})) :],
    "unknown alg": lambda: part({"alg": "XX999"}) + token()[len(part({"alg": "ES256"})) :],
    "jku": lambda: token(header={"jku": "https://evil.example/keys"}),
    "jwk": lambda: token(header={"jwk": EC.as_dict(private=False)}),
    "x5u": lambda: token(header={"x5u": "https://evil.example/cert"}),
    "x5c": lambda: token(header={"x5c": ["AAAA"]}),
    "crit": lambda: token(header={"crit": ["exp"]}),
    "b64": lambda: token(header={"b64": False}),
    "kid is a path": lambda: token(header={"kid": ["../../etc/passwd"]}),
    "typ of a logout token": lambda: token(header={"typ": "logout+jwt"}),
    "typ is a number": lambda: token(header={"typ": 1}),
    "changed claims": with_changed_claims,
    "other audience": lambda: token(aud="till"),
    "part of the audience": lambda: token(aud="sho"),
    "no audience": lambda: token(aud=...),
    "audience of numbers": lambda: token(aud=[1, "shop"]),
    "audience is an object": lambda: token(aud={"shop": True}),
    "expired": lambda: token(exp=int(time.time()) - 3600),
    "no expiry": lambda: token(exp=...),
    "expiry is text": lambda: token(exp="9999999999"),
    "expiry is true": lambda: token(exp=True),
    "expiry is infinite": lambda: with_claims('{"sub":"a","aud":"shop","exp":1e999}'),
    "expiry is beyond floats": lambda: with_claims(f'{{"sub":"a","aud":"shop","exp":1{"0" * 400}}}'),
    "expiry is not a number": lambda: with_claims('{"sub":"a","aud":"shop","exp":NaN}'),
    "not valid yet": lambda: token(nbf=int(time.time()) + 3600),
    "nbf is text": lambda: token(nbf="now"),
    "no subject": lambda: token(sub=...),
    "empty subject": lambda: token(sub=""),
    "subject is a number": lambda: token(sub=1),
    "roles are numbers": lambda: token(roles=[1]),
    "roles are an object": lambda: token(roles={"admin": True}),
    "scope is a number": lambda: token(scope=5),
    "tenant is a list": lambda: token(tenant=["t1"]),
    "duplicate claims": lambda: with_claims(f'{{"sub":"a","aud":"shop","exp":{EXP},"sub":"admin"}}'),
    "duplicate claims further down": lambda: with_claims(
        f'{{"sub":"a","aud":"shop","exp":{EXP},"realm":{{"a":1,"a":2}}}}'
    ),
    "duplicate claims by escape": lambda: with_claims(f'{{"sub":"a","aud":"shop","exp":{EXP},"s\\u0075b":"admin"}}'),
    "lone surrogate": lambda: with_claims(f'{{"sub":"\\ud800","aud":"shop","exp":{EXP}}}'),
    "claims in Latin-1": lambda: signed({"alg": "ES256"}, b'{"sub":"\xe4","aud":"shop","exp":%d}' % EXP, EC),
    "claims are a list": lambda: with_claims("[]"),
    "claims nested 5000 deep": lambda: with_claims("[" * 5000),
    "claims with 4000 digits": lambda: with_claims('{"exp":' + "9" * 5000 + "}"),
    "claims are not JSON": lambda: with_claims("{'sub': 'ana'}"),
    "header with a duplicate": lambda: part(b'{"alg":"none","alg":"ES256"}') + token()[token().index(".") :],
    "1 MiB": lambda: token(padding="x" * 1024 * 1024),
    "1 MiB of dots": lambda: "." * 1024 * 1024,
    "empty": lambda: "",
    "two parts": lambda: "a.b",
    "five parts (JWE)": lambda: "a.b.c.d.e",
    "garbage": lambda: "not a token",
    "not ASCII": lambda: token() + "é",
    "lone surrogate outside": lambda: "\ud800",
    "padding": lambda: token() + "=",
    "white space": lambda: token() + "\n",
    "one letter": lambda: "a.a.a",
    "NUL": lambda: "\0.\0.\0",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_every_known_attack_is_refused(verifier: Verifier, attack: Callable[[], str]) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(attack())


@pytest.mark.parametrize("issuer", ["https://evil.example", "https://id.example/", ["https://id.example"], ...])
def test_a_token_of_another_issuer_is_refused(issuer: Any) -> None:
    verifier = verifier_with(key=pem(EC), issuer="https://id.example")

    assert verifier.verify(token(iss="https://id.example")).subject == "ana"
    with pytest.raises(Unauthenticated, match="issuer"):
        verifier.verify(token(iss=issuer))


@given(st.text(max_size=200))
def test_no_text_is_ever_more_than_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier_with(key=SHARED).verify(text)


@given(st.integers(0, 300), st.characters(codec="ascii"))
def test_a_token_with_one_character_changed_is_refused_or_the_same(place: int, letter: str) -> None:
    verifier = verifier_with(key=pem(OKP))
    good = token(key=OKP, alg="Ed25519")
    place %= len(good)
    changed = good[:place] + letter + good[place + 1 :]

    try:
        assert verifier.verify(changed) == verifier.verify(good)
    except Unauthenticated:
        assert changed != good


def test_a_refusal_does_not_repeat_the_token(verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated) as caught:
        verifier.verify(token(sub="hunter2", aud="hunter2"))

    assert "hunter2" not in str(caught.value)


def test_what_is_refused_costs_no_signature(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: what is wrong by its look alone never reaches the cryptography."""
    verifier.verify(token())
    checked: list[str] = []
    algorithm = jws.JWSRegistry.algorithms["ES256"]
    monkeypatch.setattr(algorithm, "verify", lambda *_arguments: checked.append("once"))

    for name in (
        "alg none",
        "HS with the public key",
        "jku",
        "jwk",
        "x5u",
        "crit",
        "1 MiB",
        "garbage",
        "empty",
    ):
        with pytest.raises(Unauthenticated):
            verifier.verify(ATTACKS[name]())

    assert checked == []


def test_a_hot_token_is_verified_once_and_ends_when_it_expires(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = token()
    principal = verifier.verify(hot)
    monkeypatch.setattr(verifier, "_claims_of", lambda _token: pytest.fail("was verified again"))

    assert verifier.verify(hot) is principal

    monkeypatch.setattr(credentials, "time", lambda: time.time() + 3600)
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.verify(hot)


def test_remembered_tokens_are_bounded(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "REMEMBERED_MAX", 3)

    for number in range(5):
        verifier.verify(token(number=number))

    assert len(verifier._remembered) == 3


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(key_source, "monotonic", clock)
    return clock


def write_keys(path: Path, *keys: dict[str, Any]) -> None:
    path.write_text(json.dumps({"keys": keys}))


def public(key: Any, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


def test_a_key_set_is_chosen_from_by_key_id(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "keys.json"
    write_keys(file, public(EC, kid="ec"), public(OKP, kid="okp"), public(RSA, kid="secret", use="enc"))
    verifier = verifier_with(jwks_file=str(file))

    assert verifier.verify(token(header={"kid": "ec"})).subject == "ana"
    assert verifier.verify(token(key=OKP, alg="Ed25519", header={"kid": "okp"})).subject == "ana"
    for wrong in (
        token(),
        token(header={"kid": "okp"}),
        token(header={"kid": "nobody"}),
        token(key=RSA, alg="RS256", header={"kid": "secret"}),
    ):
        with pytest.raises(Unauthenticated):
            verifier.verify(wrong)


def test_a_withdrawn_key_verifies_nothing_more_even_for_remembered_tokens(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "keys.json"
    write_keys(file, public(EC, kid="old"), public(OKP, kid="new"))
    verifier = verifier_with(jwks_file=str(file))
    old = token(header={"kid": "old"})
    verifier.verify(old)

    write_keys(file, public(OKP, kid="new"))
    clock.now += key_source.LOOK_EVERY_S

    with pytest.raises(Unauthenticated):
        verifier.verify(old)
    assert verifier.verify(token(key=OKP, alg="EdDSA", header={"kid": "new"})).subject == "ana"


def test_a_key_file_that_breaks_leaves_the_keys_in_use(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    write_keys(file, public(EC, kid="ec"))
    verifier = verifier_with(jwks_file=str(file))
    verifier.verify(token())

    file.write_text('{"keys": [')
    clock.now += key_source.LOOK_EVERY_S

    assert verifier.verify(token(number=2)).subject == "ana"
    assert "stay in use" in caplog.text


@pytest.mark.parametrize("entries", [[], [{"kty": "quantum"}], [public(EC, kid="ec", use="enc")]])
def test_a_key_set_without_a_key_withdraws_all(tmp_path: Path, clock: Clock, entries: list[Any], caplog: Any) -> None:
    # It was taken for a broken file, and the withdrawn key went on verifying.
    file = tmp_path / "keys.json"
    write_keys(file, public(EC, kid="ec"))
    verifier = verifier_with(jwks_file=str(file))
    verifier.verify(token())

    write_keys(file, *entries)
    clock.now += key_source.LOOK_EVERY_S

    with pytest.raises(Unauthenticated, match="no usable key"):
        verifier.verify(token())
    assert "none of the keys" in verifier.check()[0].problem
    assert "withdraws all keys" in caplog.text
    write_keys(file, public(EC, kid="ec"))
    clock.now += key_source.LOOK_EVERY_S
    assert verifier.verify(token()).subject == "ana"


def test_a_key_file_is_looked_at_every_few_seconds_only(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "keys.json"
    write_keys(file, public(EC, kid="ec"))
    verifier = verifier_with(jwks_file=str(file))
    verifier.verify(token())

    os.remove(file)

    assert verifier.verify(token(number=2)).subject == "ana"


def test_a_missing_key_is_a_complaint_at_start_and_a_refusal_later(tmp_path: Path) -> None:
    verifier = verifier_with(key_file=str(tmp_path / "nothing.pem"))

    (complaint,) = verifier.check()
    assert complaint.subject == "auth.key_file"
    with pytest.raises(Unauthenticated, match="no usable key"):
        verifier.verify(token())


def test_production_without_a_key_verifies_nothing() -> None:
    verifier = Verifier(load(None, {"TOQUE_APP_ENVIRONMENT": "production"}, {}))

    assert [complaint.subject for complaint in verifier.check()] == ["auth.key"]
    with pytest.raises(Unauthenticated):
        verifier.verify(token())


def test_a_good_key_is_no_complaint() -> None:
    assert verifier_with(key=pem(RSA)).check() == []


def short_rsa_key() -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa.generate_private_key(65537, 1024).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (EC.as_pem(private=True).decode(), "private"),
        (short_rsa_key(), "2048 bits"),
        (pem(ECKey.generate_key("P-384")), "auth.algorithms"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
        ("short", "32 bytes"),
    ],
    ids=["private", "short RSA", "P-384", "no key", "short text"],
)
def test_a_key_that_should_not_be_used_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(UnusableKey, match=words):
        read_key(text, {"ES256", "RS256", "HS256"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": 1}',
        '{"keys": [1]}',
        json.dumps({"keys": [public(EC, kid="a"), public(OKP, kid="a")]}),
        json.dumps({"keys": [EC.as_dict(private=True)]}),
        json.dumps({"keys": [public(EC, kid=str(n)) for n in range(200)]}),
        json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}]}),
    ],
    ids=["nothing", "a list", "a number", "no object", "one name twice", "private", "too many", "no point"],
)
def test_a_key_set_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnusableKey):
        read_key_set(text, {"ES256", "EdDSA"})
