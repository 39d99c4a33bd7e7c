"""Names in SQL, for every statement that a migration puts together by itself."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["qualified"]


def qualified(quote: Callable[[str], str], name: str, schema: str | None = None) -> str:
    """*name* within *schema*, where it has one, as *quote* of its database writes them."""
    return f"{quote(schema)}.{quote(name)}" if schema else str(quote(name))
