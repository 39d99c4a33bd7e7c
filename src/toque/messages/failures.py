"""What is kept of a failure: text that every database takes, whatever the error's author made of it."""

from __future__ import annotations

__all__ = ["kept", "words_of"]

WORDS_CHARS_MAX = 2000
"""What is kept of an error's own text: a screenful. Some libraries put a whole document into it."""


def words_of(error: BaseException) -> str:
    """What *error* says, which may be nothing."""
    try:
        words = str(error)
    except Exception as failure:
        words = f"(it cannot say what it is: {type(failure).__name__})"
    return kept(words[:WORDS_CHARS_MAX])


def kept(text: str) -> str:
    r"""*text* without what PostgreSQL's text and JSON, or UTF-8, have no place for: "\0" and halves of surrogates."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
