"""`toque run` in plain words, understood without cyclopts: to load that is a quarter of a server's start.

Help, mistakes and every other command are cyclopts' own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["plain_run"]

TEXT = re.compile(r"[\w./:][\w./:-]*")
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")

OPTIONS = {"host": TEXT, "port": NUMBER, "workers": NUMBER, "fd": NUMBER}
"""Each with the values that can be meant in one way only."""


def plain_run(words: Sequence[str]) -> dict[str, Any] | None:
    """What `toque run` is asked for by *words*, by the names of its parameters; None where they are not plain."""
    if not words or words[0] != "run":
        return None
    asked: dict[str, Any] = {}
    rest = iter(words[1:])
    for word in rest:
        if word.startswith("--"):
            name, is_whole, value = word[2:].partition("=")
            value = value if is_whole else next(rest, "")
            form = OPTIONS.get(name)
        else:
            name, value, form = "target", word, TEXT
        if form is None or name in asked or not form.fullmatch(value):
            return None
        asked[name] = int(value) if form is NUMBER else value
    return asked
