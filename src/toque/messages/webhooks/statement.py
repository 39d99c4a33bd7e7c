"""One spelling of a statement for both databases, which differ in the tables' names and the sign of a parameter."""

from __future__ import annotations

import re
from typing import NamedTuple

from toque.store.prepared import Prepared
from toque.store.transaction import Transaction

__all__ = ["Statement", "reading", "writing"]

_PARAMETER = re.compile(r":(\d)")


class Statement(NamedTuple):
    """One statement in both dialects."""

    postgresql: Prepared
    sqlite: Prepared

    def within(self, transaction: Transaction) -> Prepared:
        """In the dialect of *transaction*."""
        return self.sqlite if transaction.plans.dialect.name == "sqlite" else self.postgresql


def reading(text: str, *, writes: bool = False) -> Statement:
    """*text*, whose tables are written `@endpoint` and whose parameters `:1`."""
    return Statement(
        Prepared(_PARAMETER.sub(r"$\1", text.replace("@", "toque.webhook_")), writes),
        Prepared(_PARAMETER.sub(r"?\1", text.replace("@", "toque_webhook_")), writes),
    )


def writing(text: str) -> Statement:
    """The same, for a statement that changes something."""
    return reading(text, writes=True)
