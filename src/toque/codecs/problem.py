"""A problem document's members as RFC 9457 lays them out: extensions stand beside the standard ones
(section 3.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from toque.contract.errors import Problem

__all__ = ["problem_document"]


def problem_document(problem: Problem) -> dict[str, Any]:
    """The members of *problem*, its own before the extensions, which cannot replace them."""
    own: dict[str, Any] = msgspec.to_builtins(problem)
    return own | {name: value for name, value in own.pop("extra", {}).items() if name not in own}
