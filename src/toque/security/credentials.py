"""Bearer tokens: from a signed token to the principal that it proves.

Source: RFC 7519 (JSON Web Token), narrowed by RFC 8725 (best current practices) and RFC 9068 (access tokens).
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import isfinite
from time import time
from types import MappingProxyType
from typing import Any, NoReturn

from toque.contract.complaints import Complaint
from toque.contract.errors import Unauthenticated
from toque.contract.principal import Principal
from toque.security.development import AUDIENCE
from toque.security.key_source import KeySource, NoKeys
from toque.settings import Settings

__all__ = ["Verifier"]

TOKEN_CHARS_MAX = 8 * 1024
"""What nginx and Apache take for a whole header line: a longer token would not come through to most apps."""

REMEMBERED_MAX = 1_000
"""Verified tokens that are kept with their claims, about 2 KiB each: the callers of a few minutes."""

# RFC 7515, 7.1: three parts in the URL-safe alphabet without padding. JWE has five parts, and the third one
# of an unsigned token is empty: neither is a credential here.
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)

# A header that brings its own key (RFC 8725, 3.10), or rules that are not known here (RFC 7515, 4.1.11).
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"})

# RFC 7519, 5.1 and RFC 9068, 2.1. Other kinds of token by the same issuer (ID, logout, DPoP) say so here.
_TYPES = frozenset({"jwt", "at+jwt"})


class Verifier:
    """Proves callers by their tokens, with the keys and rules of an app's settings."""

    def __init__(self, settings: Settings) -> None:
        self._auth = settings.auth
        self._is_production = settings.is_production
        self._audiences = frozenset(settings.auth.audience or (AUDIENCE,))
        self._source = KeySource(settings)
        self._remembered: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._version = 0

    def check(self) -> list[Complaint]:
        """What is wrong with the keys, for an app that needs them; the development key is not touched."""
        if not self._auth.has_key and not self._is_production:
            return []
        try:
            self._source.refresh()
        except NoKeys as error:
            place = next((name for name in ("jwks_file", "key_file") if getattr(self._auth, name)), "key")
            return [Complaint(f"auth.{place}", str(error))]
        return []

    def verify(self, token: str) -> Principal:
        """The principal that *token* proves.

        Raises: Unauthenticated, with the rule that the token breaks and nothing of its content.
        """
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            _refuse(f"a token has at most {TOKEN_CHARS_MAX} ASCII characters")
        self._refresh()
        now = time()
        digest = sha256(token.encode()).digest()
        remembered = self._remembered.get(digest)
        if remembered is not None:
            ends, principal = remembered
            if now >= ends:
                del self._remembered[digest]
                _refuse("the token has expired")
            self._remembered.move_to_end(digest)
            return principal
        claims = self._claims_of(token)
        ends = self._checked(claims, now)
        principal = self._principal_of(claims)
        self._remembered[digest] = (ends, principal)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return principal

    def recall(self, token: str) -> Principal | None:
        """Whom *token* proved before, if that still holds; None where `verify` has to be asked."""
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            return None
        ends, principal = self._remembered.get(sha256(token.encode()).digest(), (0.0, None))
        return principal if time() < ends else None

    def proving(self, token: str) -> Callable[[], Principal]:
        """What proves *token* anew, at the price of a look at the clock as long as it and the keys are the same.

        Raises: as `verify`, and so does what it returns.
        """
        principal: Principal | None = None
        ends, version = 0.0, -1

        def prove() -> Principal:
            nonlocal principal, ends, version
            self._refresh()
            if principal is None or version != self._version or time() >= ends:
                principal = self.verify(token)
                ends, version = self._remembered[sha256(token.encode()).digest()][0], self._version
            return principal

        prove()
        return prove

    def _refresh(self) -> None:
        """Look for new keys now and then; what old ones have proven is proven anew."""
        try:
            self._source.refresh()
        except NoKeys as error:
            raise Unauthenticated("this app cannot verify tokens: it has no usable key") from error
        if self._version != self._source.version:
            self._version = self._source.version
            self._remembered.clear()

    def _claims_of(self, token: str) -> dict[str, Any]:
        """The claims of a token whose signature holds."""
        parts = _COMPACT.fullmatch(token)
        if parts is None:
            _refuse("expected a signed token of three parts (RFC 7515, 7.1)")
        header = _object_in(parts[1])
        if not _REFUSED_HEADERS.isdisjoint(header):
            _refuse("the token's header brings a key or an extension of its own")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            _refuse("the token is of another type than JWT or at+jwt")
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or not isinstance(kid, str | None):
            _refuse("the token's header is not what RFC 7515 says")
        key = self._source.find(kid)
        signed = f"{parts[1]}.{parts[2]}".encode()
        if key is None or not key.verifies(algorithm, signed, _bytes_in(parts[3])):
            _refuse("the token's signature does not hold")
        return _object_in(parts[2])

    def _checked(self, claims: Mapping[str, Any], now: float) -> float:
        """The time until which *claims* hold, leeway included."""
        leeway_s = self._auth.leeway_s
        ends = _moment(claims, "exp")
        begins = _moment(claims, "nbf")
        _moment(claims, "iat")
        if ends is None:
            _refuse("the token never expires; `exp` is obligatory")
        if now >= ends + leeway_s:
            _refuse("the token has expired")
        if begins is not None and now < begins - leeway_s:
            _refuse("the token is not valid yet")
        if self._audiences.isdisjoint(_audience_of(claims)):
            _refuse("the token is meant for somebody else (`aud`)")
        if self._auth.issuer and claims.get("iss") != self._auth.issuer:
            _refuse("the token comes from another issuer (`iss`)")
        return ends + leeway_s

    def _principal_of(self, claims: dict[str, Any]) -> Principal:
        subject = claims.get("sub")
        tenant = _claim(claims, self._auth.tenant_claim, "")
        if not isinstance(subject, str) or not subject:
            _refuse("the token is about nobody; `sub` is obligatory")
        if not isinstance(tenant, str):
            _refuse(f"the claim {self._auth.tenant_claim!r} is no text")
        return Principal(
            subject=subject,
            roles=_words_in(claims, self._auth.roles_claim),
            scopes=_words_in(claims, self._auth.scopes_claim),
            tenant=tenant,
            claims=MappingProxyType(claims),
        )


def _refuse(rule: str) -> NoReturn:
    raise Unauthenticated(rule)


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, 2): seconds since 1970, with or without a fraction."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        if type(value) in (int, float) and isfinite(value):
            return float(value)
    except OverflowError:
        pass  # An integer that no float holds.
    _refuse(f"the claim {name!r} is no time")


def _audience_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """RFC 7519, 4.1.3: one text, or a list of them."""
    audience = claims.get("aud")
    if isinstance(audience, str):
        return frozenset({audience})
    if not isinstance(audience, list) or not all(isinstance(name, str) for name in audience):
        _refuse("the token is meant for nobody; `aud` is obligatory")
    return frozenset(audience)


def _words_in(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """A list of texts, or one text of words (RFC 8693, 4.2)."""
    value = _claim(claims, name, [])
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        _refuse(f"the claim {name!r} is neither text nor a list of it")
    return frozenset(word for word in words if word)


def _claim(claims: Mapping[str, Any], name: str, default: Any) -> Any:
    """The claim *name*, or what lies deeper along its dots: some issuers nest, others have dots in names."""
    if name in claims or "." not in name:
        return claims.get(name, default)
    value: Any = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return default if value is None else value


def _bytes_in(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        _refuse("a part of the token is no base64url")


def _object_in(part: str) -> dict[str, Any]:
    """A JSON object without any room for two readings: of a name that comes twice, who knows which counts?"""
    try:
        value = json.loads(_bytes_in(part), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # A lone surrogate is no character and could not be sent on.
    except (ValueError, RecursionError):
        _refuse("a part of the token is no unambiguous JSON")
    if not isinstance(value, dict):
        _refuse("a part of the token is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
