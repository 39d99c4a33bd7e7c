"""A module whose names have other values from time to time, as `test_purity.py` reads them."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

IS_OPEN = True
LEVEL = 3
FIXED = 3


def close() -> None:
    global IS_OPEN
    IS_OPEN = False


BY_GLOBALS = BY_VARS = BY_SETATTR = BY_ATTRIBUTE = BY_IMPORT = BY_LOCAL = BY_DICT = BY_FETCHING = 3


def write(n: int) -> None:
    own = sys.modules[__name__]
    globals()["BY_GLOBALS"] = n
    vars(own)["BY_VARS"] = n
    setattr(sys.modules[__name__], "BY_SETATTR", n)  # noqa: B010 - what somebody may write
    sys.modules[__name__].BY_ATTRIBUTE = n  # type: ignore[attr-defined]
    importlib.import_module(__name__).BY_FETCHING = n  # type: ignore[attr-defined]


def told(name: str) -> object:
    """Reads names, and writes none: `FIXED` stays what it is."""
    return name in globals(), globals().get(name), globals()[name]


def level() -> int:
    return LEVEL


def __getattr__(name: str) -> Any:
    if name == "MOMENT":
        return time.time()
    raise AttributeError(name)
