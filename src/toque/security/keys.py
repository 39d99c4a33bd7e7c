"""Keys, and the signatures that they make and verify; the only file that knows joserfc.

What a key may sign follows from what it is, never from what a token says: a public key is never read as the
secret of an HMAC, and `none` is no algorithm (RFC 8725, sections 3.1 and 3.2).
Source: RFC 7517 (keys), RFC 7518 and RFC 9864 (algorithms).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

__all__ = ["DEFAULT_ALGORITHMS", "Key", "UnusableKey", "read_key", "read_key_set", "sign"]

DEFAULT_ALGORITHMS = frozenset({"EdDSA", "Ed25519", "ES256", "PS256", "RS256", "HS256"})

KEYS_MAX = 100
"""An issuer shows the keys of yesterday, today and tomorrow: a handful. More is a mistake."""

RSA_BITS_MIN = 2048
"""RFC 7518, 3.3 and 3.5."""

# RFC 7518, 3.2: the secret of an HMAC has at least as many bytes as its hash.
_SECRET_BYTES_MIN = {"HS256": 32, "HS384": 48, "HS512": 64}
_OF_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_OF_CURVE = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA", "Ed25519"}),
}


class UnusableKey(ValueError):
    """A configured key with which no token may be verified; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key and what it may verify."""

    kid: str
    """Its name in the issuer's key set; empty where it has none."""
    algorithms: frozenset[str]
    material: Any

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether *signature* over *signed* was made with this key, by an algorithm that it is for."""
        if algorithm not in self.algorithms:
            return False
        try:
            return JWSRegistry.algorithms[algorithm].verify(signed, signature, self.material)
        except (JoseError, ValueError):
            return False


def read_key(text: str, allowed: Collection[str]) -> Key:
    """The key in *text*: a public key in PEM, or else a shared secret.

    Raises: UnusableKey.
    """
    text = text.strip()
    is_pem = "-----BEGIN" in text
    material = _from_pem(text) if is_pem else _from_secret(text.encode())
    return _usable(material, "", allowed)


def read_key_set(text: str, allowed: Collection[str]) -> list[Key]:
    """The keys of a JSON Web Key Set; those of unknown kinds or for encryption are passed over (RFC 7517, 5).

    Returns: maybe none, which withdraws all.
    Raises: UnusableKey.
    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnusableKey('expected a JSON Web Key Set: {"keys": [...]}') from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnusableKey("the `keys` of a key set are a list of objects (RFC 7517, 5.1)")
    if len(entries) > KEYS_MAX:
        raise UnusableKey(f"a key set has at most {KEYS_MAX} keys, got {len(entries)}")
    keys = list(_from_entries(entries, allowed))
    kids = [key.kid for key in keys]
    if len(keys) > 1 and ("" in kids or len(set(kids)) < len(kids)):
        raise UnusableKey("each key of a set of several needs a `kid` of its own")
    return keys


def sign(claims: Mapping[str, Any], secret: bytes) -> str:
    """A token that carries *claims*, signed by HS256 with *secret*."""
    from joserfc import jwt

    return jwt.encode({"alg": "HS256"}, dict(claims), OctKey.import_key(secret), ["HS256"])


def _from_entries(entries: list[dict[str, Any]], allowed: Collection[str]) -> Iterator[Key]:
    for entry in entries:
        if entry.get("use", "sig") != "sig" or entry.get("kty") not in JWKRegistry.key_types:
            continue
        if entry["kty"] in ("EC", "OKP") and entry.get("crv") not in _OF_CURVE:
            continue
        try:
            material = _imported(JWKRegistry, entry)
        except (JoseError, ValueError, TypeError) as error:
            raise UnusableKey(f"key {entry.get('kid')!r} is broken: {type(error).__name__}") from None
        designed = entry.get("alg")
        if fitting := _fitting(material) & frozenset(allowed) & (frozenset({designed}) if designed else _ALL):
            yield Key(str(entry.get("kid", "")), fitting, material)


def _from_pem(text: str) -> Any:
    for kind in (OKPKey, ECKey, RSAKey):
        try:
            return _imported(kind, text)
        except (JoseError, ValueError, TypeError):
            continue
    raise UnusableKey("this is no public key in PEM of a kind that is known: Ed25519, P-256, P-384, P-521, RSA")


def _from_secret(secret: bytes) -> Any:
    if len(secret) < min(_SECRET_BYTES_MIN.values()):
        raise UnusableKey(f"a shared secret has at least 32 bytes, got {len(secret)}")
    return _imported(OctKey, secret)


def _imported(kind: Any, data: Any) -> Any:
    """*data* as joserfc's key. It warns of weak ones, which are refused here."""
    with warnings.catch_warnings(action="ignore", category=SecurityWarning):
        return kind.import_key(data)


def _usable(material: Any, kid: str, allowed: Collection[str]) -> Key:
    fitting = _fitting(material)
    if not fitting & frozenset(allowed):
        raise UnusableKey(
            f"it verifies {', '.join(sorted(fitting)) or 'nothing'}, "
            f"and accepted are {', '.join(sorted(allowed))}; see auth.algorithms"
        )
    return Key(kid, fitting & frozenset(allowed), material)


def _fitting(material: Any) -> frozenset[str]:
    """The algorithms that a key is made for. Raises: UnusableKey where it is private or too short."""
    if material.key_type == "oct":
        length = len(material.raw_value)
        return frozenset(name for name, least in _SECRET_BYTES_MIN.items() if length >= least)
    if material.is_private:
        raise UnusableKey("it is a private key; whoever verifies needs the public one only")
    if material.key_type == "RSA":
        if material.raw_value.key_size < RSA_BITS_MIN:
            raise UnusableKey(f"an RSA key has at least {RSA_BITS_MIN} bits, got {material.raw_value.key_size}")
        return _OF_RSA
    return _OF_CURVE.get(material.curve_name, frozenset())


_ALL = frozenset(_SECRET_BYTES_MIN) | _OF_RSA | frozenset().union(*_OF_CURVE.values())
