"""Which format and which content coding a client would like best: RFC 9110, sections 12.5.1, 12.5.3 and
8.3.1.

The headers are the client's to choose, so they are read only as far as a limit, and what is remembered is
bounded. Elements that make no sense are ignored, as the RFC leaves open."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

__all__ = ["choose", "choose_coding", "parse_media_type"]

HEADER_MAX = 1_024
"""Characters of a header that are read. Browsers send below 200 in Accept; the rest of a longer one is
ignored."""
REMEMBERED_MAX = 256
"""Headers remembered, each below HEADER_MAX: at most 0.5 MB for each function."""

# token = 1*tchar; a parameter's value is a token or a quoted-string (section 5.6).
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(rf"\s*({_WORD}/{_WORD})\s*(?:;|\Z)")
_PARAMETER = re.compile(rf';\s*({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")\s*')
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
# weight: 0 to 1 with at most three digits (section 12.4.2).
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


def choose(accept: str, offers: tuple[str, ...]) -> int | None:
    """The position of the offer that *accept* prefers, the earliest among equals, or None where it takes
    none.

    An empty *accept* takes anything. The most specific range that fits an offer gives its weight; of a
    range's parameters only the charset counts."""
    return _choose(accept[:HEADER_MAX], offers) if accept else 0 if offers else None


@functools.lru_cache(REMEMBERED_MAX)
def _choose(accept: str, offers: tuple[str, ...]) -> int | None:
    ranges = list(_ranges(accept))
    if not ranges:
        return 0 if offers else None
    weights = [_weight_of(offer, ranges) for offer in offers]
    best = max(weights, default=0.0)
    return weights.index(best) if best > 0 else None


_Range = tuple[str, str, float]
"""A media range, its charset, its weight."""


def _ranges(accept: str) -> Iterator[_Range]:
    for element in _ELEMENT.findall(accept):
        media_type, parameters = parse_media_type(element)
        weight = parameters.get("q", "1")
        if media_type and _WEIGHT.fullmatch(weight):
            yield media_type, parameters.get("charset", "").lower(), float(weight)


def _weight_of(offer: str, ranges: list[_Range]) -> float:
    media_type, parameters = parse_media_type(offer)
    charset = parameters.get("charset", "utf-8")
    whole, _, _ = media_type.partition("/")
    specificity = {media_type: 2, f"{whole}/*": 1, "*/*": 0}
    fits = [
        (specificity[wanted], bool(wanted_charset), weight)
        for wanted, wanted_charset, weight in ranges
        if wanted in specificity and wanted_charset in ("", charset)
    ]
    return max(fits)[2] if fits else 0.0


@functools.lru_cache(REMEMBERED_MAX)
def _parsed(value: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    found = _MEDIA_TYPE.match(value)
    if found is None:
        return "", ()
    parameters: dict[str, str] = {}
    at = found.end(1)
    while (one := _PARAMETER.match(value, _past_spaces(value, at))) is not None:
        parameters.setdefault(one[1].lower(), _unquoted(one[2]))
        at = one.end()
    return found[1].lower(), tuple(parameters.items())


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case and its parameters: `text/csv; charset="utf-8"`. No media type is an empty
    one."""
    media_type, parameters = _parsed(value[:HEADER_MAX])
    return media_type, dict(parameters)


def _past_spaces(value: str, at: int) -> int:
    while value[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == '"' else text


def choose_coding(accept_encoding: str, available: tuple[str, ...]) -> str | None:
    """The content coding that *accept_encoding* prefers among *available*, in the server's order among
    equals.

    None is the identity: always taken unless refused, and never preferred to a coding of the same weight.
    """
    return _choose_coding(accept_encoding[:HEADER_MAX], available) if accept_encoding else None


@functools.lru_cache(REMEMBERED_MAX)
def _choose_coding(accept_encoding: str, available: tuple[str, ...]) -> str | None:
    weights = dict(_codings(accept_encoding))
    anything = weights.get("*", 0.0)
    best, weight = None, weights.get("identity", 0.0)
    for coding in available:
        offered = weights.get(coding, anything)
        if offered > weight or (offered == weight > 0 and best is None):
            best, weight = coding, offered
    return best


def _codings(accept_encoding: str) -> Iterator[tuple[str, float]]:
    for element in accept_encoding.split(","):
        name, _, rest = element.partition(";")
        name, weight = name.strip().lower(), rest.strip().lower().removeprefix("q=") or "1"
        if re.fullmatch(_WORD, name) and _WEIGHT.fullmatch(weight):
            yield {"x-gzip": "gzip"}.get(name, name), float(weight)
