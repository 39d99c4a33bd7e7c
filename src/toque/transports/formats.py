"""The formats that an operation answers in: data in every codec that can carry it, bytes as they are, pages."""

from __future__ import annotations

from collections.abc import Iterator

from toque.call.plan import Plan
from toque.codecs.codec import CODECS, StreamEncoder
from toque.contract.operation import Kind
from toque.contract.signature import Place
from toque.transports.file_types import is_compressible
from toque.transports.pages import Pages
from toque.transports.replies import DATA_HEADERS, Headers, Offer, Offers

__all__ = ["offers_of"]


def offers_of(plan: Plan, pages: Pages | None, *, why_not_live: str | None = "") -> Offers:
    """What *plan* answers in; *pages* are there where any operation of the app has a page.

    Args:
        why_not_live: why its answer cannot be followed; None where it can.
    """
    answers_nothing = plan.signature.output is None and plan.operation.page is None
    if answers_nothing:
        return Offers([Offer("application/json", _headers(plan), lambda _value: b"")], answers_nothing=True)
    return Offers(list(_offers(plan, pages)), why_not_live=why_not_live)


def _offers(plan: Plan, pages: Pages | None) -> Iterator[Offer]:
    operation, signature = plan.operation, plan.signature
    if signature.output is bytes:
        media_type = operation.media_type or "application/octet-stream"
        stream = StreamEncoder(bytes, is_compressible=_gains(media_type)) if signature.is_stream else None
        yield Offer(media_type, [("content-type", media_type), *_headers(plan)], bytes, stream)
    elif signature.output is not None:
        yield from _data(plan)
    if operation.page is not None and pages is not None:
        yield pages.offer(operation, signature, _headers(plan))


def _gains(media_type: str) -> bool:
    """Whether a stream of it is compressed. Events are not: they are small, and proxies hold back what is coded."""
    return is_compressible(media_type) and not media_type.startswith("text/event-stream")


def _data(plan: Plan) -> Iterator[Offer]:
    output = plan.signature.output
    for codec in CODECS.values():
        media_type = codec.media_types[0]
        headers = [("content-type", media_type), *_headers(plan)]
        if plan.signature.is_stream:
            if stream := codec.stream_encoder(output):
                yield Offer(media_type, headers, bytes, stream)
        elif encode := codec.encoder(output):
            yield Offer(media_type, headers, encode)


def _headers(plan: Plan) -> Headers:
    """What every answer carries. What depends on the caller is kept by nobody (RFC 9111, 5.2.2.5). A query's other
    answers are asked for each time: without a word, caches guess how long they hold (4.2.2)."""
    headers = list(DATA_HEADERS)
    is_query = plan.operation.kind is Kind.QUERY
    if plan.reads_credential:
        headers.append(("cache-control", "no-store"))
    elif is_query:
        headers.append(("cache-control", "no-cache"))
    if is_query:
        inputs = (found.wire_name.lower() for found in plan.signature.places(Place.HEADER))
        headers.append(("vary", ", ".join(dict.fromkeys(["accept", *inputs]))))
    return headers
