"""A problem document's members as RFC 9457 lays them out: extensions stand beside the standard ones
(section 3.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from toque.contract.errors import Problem

__all__ = ["problem_document", "problem_encoder"]

log = logging.getLogger("toque.codecs")


def problem_document(problem: Problem) -> dict[str, Any]:
    """The members of *problem*, its own before the extensions, which cannot replace them."""
    own: dict[str, Any] = msgspec.to_builtins(problem)
    return own | {name: value for name, value in own.pop("extra", {}).items() if name not in own}


def problem_encoder(encode: Callable[[Any], bytes]) -> Callable[[Problem], bytes]:
    """What writes problems by *encode*. An app may put into one what no format carries, an object or half a surrogate:
    then it goes without its details, because a failure that cannot be told leaves its caller waiting."""

    def write(problem: Problem) -> bytes:
        try:
            return encode(problem_document(problem))
        except Exception:
            log.exception("the error %s has members that cannot be written; give it JSON values only", problem.code)
            return encode(problem_document(msgspec.structs.replace(problem, faults=(), extra={})))

    return write
