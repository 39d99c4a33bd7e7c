"""The keys of webhooks, as Standard Webhooks 1.0 writes them, and what each can do.

`whsec_` is a secret that both sides have (HMAC-SHA256, signatures `v1`); `whsk_` signs and `whpk_` verifies (Ed25519,
`v1a`). The only file that knows cryptography's names.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["SigningKey", "VerifyingKey", "new_pair", "new_secret", "signing_key", "verifying_key"]

SECRET_BYTES = 32
"""As long as SHA-256's own output: more guards nothing (RFC 2104, 3)."""

SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
"""Standard Webhooks 1.0, "Signature scheme": 192 to 512 bits."""

_ED25519_BYTES = 32


class SigningKey(Protocol):
    """Makes signatures."""

    @property
    def version(self) -> str:
        """`v1` or `v1a`."""
        ...

    def sign(self, content: bytes) -> bytes: ...


class VerifyingKey(Protocol):
    """Tells whether a signature was made with its counterpart."""

    @property
    def version(self) -> str: ...

    def verifies(self, content: bytes, signature: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Secret:
    secret: bytes = field(repr=False)
    version: str = "v1"

    def sign(self, content: bytes) -> bytes:
        return hmac.digest(self.secret, content, "sha256")

    def verifies(self, content: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(content), signature)


@dataclass(frozen=True, slots=True)
class _Private:
    key: Any = field(repr=False)
    version: str = "v1a"

    def sign(self, content: bytes) -> bytes:
        signature: bytes = self.key.sign(content)
        return signature


@dataclass(frozen=True, slots=True)
class _Public:
    key: Any = field(repr=False)
    version: str = "v1a"

    def verifies(self, content: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


def signing_key(text: str) -> SigningKey:
    """The key that *text*, `whsec_...` or `whsk_...`, stands for. Raises: ValueError, which does not show it."""
    kind, data = _parted(text, "whsec_", "whsk_")
    return _secret(data) if kind == "whsec_" else _Private(_private(data))


def verifying_key(text: str) -> VerifyingKey:
    """The key that *text*, `whsec_...` or `whpk_...`, stands for. Raises: ValueError, which does not show it."""
    kind, data = _parted(text, "whsec_", "whpk_")
    if kind == "whsec_":
        return _secret(data)
    if len(data) != _ED25519_BYTES:
        raise ValueError(f"a whpk_ key has {_ED25519_BYTES} bytes, received {len(data)}")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return _Public(Ed25519PublicKey.from_public_bytes(data))


def new_secret() -> str:
    """A new `whsec_` secret."""
    return "whsec_" + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def new_pair() -> tuple[str, str]:
    """A new key to sign with, `whsk_`, and the one to give to the receiver, `whpk_`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return _written("whsk_", key.private_bytes_raw() + public), _written("whpk_", public)


def public_of(text: str) -> str:
    """The `whpk_` key that belongs to *text*, a `whsk_` key. Raises: ValueError."""
    _, data = _parted(text, "whsk_")
    return _written("whpk_", _private(data).public_key().public_bytes_raw())


def _written(kind: str, data: bytes) -> str:
    return kind + base64.b64encode(data).decode()


def _parted(text: str, *kinds: str) -> tuple[str, bytes]:
    for kind in kinds:
        if text.startswith(kind):
            try:
                return kind, base64.b64decode(text[len(kind) :] + "==", validate=False)
            except binascii.Error:
                raise ValueError(f"what follows {kind} is no base64") from None
    raise ValueError(f"a key begins with {' or '.join(kinds)}")


def _secret(data: bytes) -> _Secret:
    if not SECRET_BYTES_MIN <= len(data) <= SECRET_BYTES_MAX:
        raise ValueError(f"a whsec_ secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, received {len(data)}")
    return _Secret(data)


def _private(data: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    # The seed alone, or with the public key behind it as libsodium and Go keep it (RFC 8032, 5.1.5).
    if len(data) not in (_ED25519_BYTES, 2 * _ED25519_BYTES):
        raise ValueError(f"a whsk_ key has {_ED25519_BYTES} or {2 * _ED25519_BYTES} bytes, received {len(data)}")
    key = Ed25519PrivateKey.from_private_bytes(data[:_ED25519_BYTES])
    if data[_ED25519_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise ValueError("the two halves of the whsk_ key do not belong together")
    return key
