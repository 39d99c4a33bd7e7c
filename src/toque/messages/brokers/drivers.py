"""What the drivers of brokers say by themselves: in the app's own log, and each thing once in a while.

Whoever keeps a connection says that it is lost and that it is back. A driver says so too, at each of its own tries: a
hundred times a second in the case of Kafka.
"""

from __future__ import annotations

import logging
from time import monotonic

__all__ = ["retell"]

log = logging.getLogger("toque.brokers")

AGAIN_S = 60.0
"""As for a trouble of our own (`call/trouble.py`)."""

KINDS_MAX = 1000
"""More texts than a driver has; what is not a text with gaps, but a new one each time, takes no memory for ever."""


def retell(driver: str) -> None:
    """Have what *driver* says told by us, unless somebody listens to it already."""
    logger = logging.getLogger(driver)
    if not logger.handlers:
        logger.addHandler(_Retelling())
        logger.propagate = False


class _Retelling(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._due: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind, now = str(record.msg), monotonic()
        if now < self._due.get(kind, 0.0):
            return
        if len(self._due) >= KINDS_MAX:
            self._due.clear()
        self._due[kind] = now + AGAIN_S
        # No more than a warning, and without where it was raised: all that it is about is tried again.
        log.warning("%s: %s", record.name, record.getMessage())
