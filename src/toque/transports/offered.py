"""An operation as it is offered over HTTP, for the manifest."""

from __future__ import annotations

from toque.call.plan import Plan
from toque.codecs.codec import CODECS
from toque.codecs.file import File
from toque.codecs.multipart import MULTIPART
from toque.contract.manifest import Offered
from toque.contract.nodes import holds
from toque.contract.signature import Place
from toque.store.database import AllRows

__all__ = ["offered"]


def offered(plan: Plan, gives: tuple[str, ...], body_bytes_max: int) -> Offered:
    """Describe *plan*, which answers in the media types *gives* and takes bodies up to *body_bytes_max*."""
    answers_nothing = plan.signature.output is None and plan.operation.page is None
    return Offered(
        operation=plan.operation,
        signature=plan.signature,
        takes=_taken(plan),
        gives=() if answers_nothing else gives,
        deadline_s=plan.deadline_s,
        body_bytes_max=body_bytes_max,
        reads_credential=plan.reads_credential,
        has_all_rows=AllRows in plan.asks_for,
    )


def _taken(plan: Plan) -> tuple[str, ...]:
    """The media types that a body may have; multipart is for files, what has none comes as a form."""
    signature = plan.signature
    if signature.places(Place.UPLOAD):
        return ("application/octet-stream",)
    whole = signature.places(Place.BODY)
    if not whole and not signature.places(Place.MEMBER):
        return ()
    # Inputs in the path and the query string are plain values: they never change which format carries all.
    tp = whole[0].type if whole else plan.named
    if holds(tp, File):
        return MULTIPART.media_types
    return tuple(codec.media_types[0] for codec in CODECS.values() if codec.decoder(tp))
