"""What an answer tells the caches between us and its caller: how long they may give it, and by which names they forget.

Source: RFC 9111, 5.2 (Cache-Control); RFC 5861 (stale-while-revalidate, stale-if-error); RFC 9213 (CDN-Cache-Control);
RFC 9875 (Cache-Groups). Surrogate-Key is what Fastly and Varnish's users call the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from toque.cache.groups import groups_of_reads
from toque.cache.predicates import Predicate

__all__ = ["Front"]


class Front(Struct, frozen=True):
    """What one operation's answers say."""

    edge_s: float | None = None
    """How long a cache that is told what changed may give an answer unasked; None where none is told."""
    stale_while_revalidate_s: float | None = None
    stale_if_error_s: float | None = None

    def control(self, *, is_personal: bool) -> str:
        """`Cache-Control`: who keeps it asks again before he gives it, unless an old one was declared good enough."""
        scope, stale = "private" if is_personal else "public", self._stale
        return ", ".join([scope, "max-age=0", *stale] if stale else [scope, "no-cache"])

    def labels(self, reads: Iterable[Predicate]) -> list[tuple[str, str]]:
        """The rest, for an answer that is everybody's and has read *reads*."""
        groups = () if self.edge_s is None else groups_of_reads(reads)
        # What cannot be named cannot be forgotten, and what was read nowhere is not known to change.
        if self.edge_s is None or not groups:
            return []
        return [
            ("cdn-cache-control", ", ".join([f"max-age={self.edge_s:.0f}", *self._stale])),
            ("cache-groups", ", ".join(f'"{group}"' for group in groups)),
            ("surrogate-key", " ".join(groups)),
        ]

    @property
    def _stale(self) -> list[str]:
        directives = {
            "stale-while-revalidate": self.stale_while_revalidate_s,
            "stale-if-error": self.stale_if_error_s,
        }
        return [f"{name}={seconds:.0f}" for name, seconds in directives.items() if seconds is not None]
