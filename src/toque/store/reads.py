"""The port: who hears of all that the statements of one call read, for a call whose answer may be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from toque.store.plans import Plan

__all__ = ["Reads"]


class Reads(Protocol):
    """Told of each statement before it is run, on the loop's thread. It raises nothing."""

    def statement(self, plan: Plan, binds: Sequence[Any], parameters: Mapping[str, Any] | None) -> None:
        """A statement that was planned is about to be run; the arguments are those of `Plan.arguments`."""

    def untracked(self, arguments: Iterable[Any]) -> None:
        """Another one is: of what it reads nothing is known but the facts among its *arguments*."""

    def failed(self) -> None:
        """A statement failed, and the operation answers all the same."""
