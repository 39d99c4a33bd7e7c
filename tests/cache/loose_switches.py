"""A module any name of which may be written, as `test_purity.py` reads it."""

from __future__ import annotations

LEVEL = 3


def write(name: str, n: int) -> None:
    globals()[name] = n
