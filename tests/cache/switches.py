"""A module whose names have other values from time to time, as `test_purity.py` reads them."""

from __future__ import annotations

import time
from typing import Any

IS_OPEN = True
LEVEL = 3
FIXED = 3


def close() -> None:
    global IS_OPEN
    IS_OPEN = False


def level() -> int:
    return LEVEL


def __getattr__(name: str) -> Any:
    if name == "MOMENT":
        return time.time()
    raise AttributeError(name)
