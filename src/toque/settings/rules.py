"""What settings say together: rules over more than one of them."""

from __future__ import annotations

from collections.abc import Iterator

from toque.contract.complaints import Complaint
from toque.settings.tree import Auth, Cache, Http, Settings

__all__ = ["problems"]

SHARED_SECRET_BYTES_MIN = 32
"""RFC 7518, 3.2: a key of an HMAC is at least as long as its hash; SHA-256's has 32 bytes."""

SHARED_SCHEMES = ("redis", "rediss", "valkey", "valkeys")


def problems(settings: Settings) -> list[Complaint]:
    """What keeps an app with these settings from starting, each with its remedy."""
    http, is_production = settings.http, settings.is_production
    return [*_of_http(http, is_production), *_of_auth(settings.auth), *_of_cache(settings.cache)]


def _of_http(http: Http, is_production: bool) -> Iterator[Complaint]:
    if "*" in http.cors_origins and http.cors_credentials:
        yield Complaint(
            "http.cors_origins",
            "any web page could call with the cookies of whoever looks at it ('*' with cors_credentials)",
            "list the origins, or set http.cors_credentials = false",
        )
    for origin in http.cors_origins:
        if origin not in ("*", _origin_of(origin)):
            yield Complaint(
                "http.cors_origins",
                f"an origin is a scheme, a host and at most a port (RFC 6454), received {origin!r}",
                f"write {_origin_of(origin) or 'https://shop.example'}",
            )
    if is_production and not http.hosts:
        yield Complaint(
            "http.hosts",
            "in production the app must know the names it answers for",
            'set TOQUE_HTTP_HOSTS=shop.example (or "*" behind a proxy that checks them)',
        )
    if (http.tls_certificate is None) != (http.tls_key is None):
        missing = "tls_certificate" if http.tls_certificate is None else "tls_key"
        yield Complaint(f"http.{missing}", "TLS needs a certificate and its key", "set both, or none")
    for name in ("tls_certificate", "tls_key"):
        path = getattr(http, name)
        if path is not None and not path.is_file():
            yield Complaint(f"http.{name}", f"there is no file {path}")


def _of_auth(auth: Auth) -> Iterator[Complaint]:
    given = [name for name in ("key", "key_file", "jwks_file") if getattr(auth, name)]
    if len(given) > 1:
        yield Complaint(f"auth.{given[1]}", f"keys come from one place, got {' and '.join(given)}", "keep one")
    if given and not auth.audience:
        yield Complaint(
            f"auth.{given[0]}",
            "without an audience a token for any other service of the same issuer would open this one",
            "set auth.audience to the name that the issuer writes into `aud`",
        )
    if auth.key and "-----BEGIN" not in auth.key and len(auth.key.encode()) < SHARED_SECRET_BYTES_MIN:
        yield Complaint(
            "auth.key",
            f"a shared secret has at least {SHARED_SECRET_BYTES_MIN} bytes, got {len(auth.key.encode())}",
            'make one with python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )


def _of_cache(cache: Cache) -> Iterator[Complaint]:
    if cache.verify_share is None:
        yield Complaint("cache.verify", f"a share lies between 0 and 1, received {cache.verify[:20]!r}", "or write all")
    scheme = cache.shared_url.reveal().partition("://")[0]
    if cache.shared_url and scheme not in SHARED_SCHEMES:
        yield Complaint(
            "cache.shared_url", "it names no Redis and no Valkey", "write redis://HOST:6379/0, or leave it out"
        )


def _origin_of(text: str) -> str:
    """The origin in *text* as a browser writes it, or nothing."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text.lower())
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme and parts.netloc else ""
