"""Structured logs over the standard library: one line a record, for people or for machines.

Every line carries the trace id, the operation and the caller of the call that it was written in. Whatever a
caller sends, it neither begins a new line nor colours a terminal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from traceback import TracebackException
from typing import Any, Literal, TextIO

import msgspec

from toque.call.context import CURRENT, Context
from toque.call.observation import CANCELLED, INTERNAL, OK, Report, silent
from toque.contract.errors import CODES, Overloaded

__all__ = ["Calls", "Format", "configure", "reporter"]

Format = Literal["auto", "text", "json"]
Calls = Literal["none", "failed", "refused", "all"]

TEXT_CHARS_MAX = 16_384
"""Longest text of a record that is kept. Docker splits longer lines, and half a line is no JSON."""

# C0 and C1 control characters, and the line and paragraph separators that some viewers break at.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_NEWLINE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")

# What every record has; anything else on it was given with `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "call"}


def configure(level: str, form: Format, *, loggers: Sequence[str] = ("toque",), stream: TextIO | None = None) -> None:
    """Send what *loggers* and those below them say, from *level* on, to *stream* (standard error).

    Calling it again replaces what it set before.
    """
    handler = logging.StreamHandler(stream)
    is_terminal = handler.stream.isatty()
    is_json = form == "json" or (form == "auto" and not is_terminal)
    handler.setFormatter(_Json() if is_json else _Text(has_colour=is_terminal))
    for logger in map(logging.getLogger, loggers):
        logger.handlers[:] = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    if logging.lastResort is not None:
        # What nobody else takes, such as asyncio's own complaints and those of libraries, comes in the same form.
        logging.lastResort.setFormatter(handler.formatter)


def reporter(calls: Calls, slow_ms: float) -> tuple[Report, float]:
    """What `observed` tells of a call, and the seconds from which it tells of those that went well too.

    Calls that failed by the app's fault get a line as errors, refused ones as notes, slow ones as warnings.
    """
    if calls == "none":
        return silent, inf
    log = logging.getLogger("toque.call")
    tells_of_refusals = calls in ("refused", "all")

    def report(context: Context, code: str, seconds: float, error: BaseException | None) -> None:
        is_slow = seconds * 1000 >= slow_ms
        level = _level_of(code, is_slow)
        if level > logging.INFO or tells_of_refusals:
            extra = {"call": context, "code": code, "duration_ms": round(seconds * 1000, 3)}
            if level == logging.ERROR and error is not None and error.__cause__ is not None:
                extra["cause"] = _kind_of(error.__cause__)
            log.log(level, "%s %s", context.operation, code, extra=extra)

    return report, 0.0 if calls == "all" else slow_ms / 1000


def _kind_of(error: BaseException) -> str:
    """What SQLite calls it, or its class: never its words, which may hold values and secrets."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _level_of(code: str, is_slow: bool) -> int:
    if code == Overloaded.code:
        return logging.INFO  # They come by the thousand, and are told of together (`notice.py`).
    known = CODES.get(code)
    if code == INTERNAL or (known is not None and known.http >= 500):
        return logging.ERROR
    return logging.WARNING if is_slow and code in (OK, CANCELLED) else logging.INFO


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record.getMessage()),
            **_call_of(record),
        }
        for name, value in _extra_of(record).items():
            line.setdefault(name, value if isinstance(value, int | float | None) else _text(str(value)))
        if traceback := _traceback_of(record):
            line["exception"] = traceback
        # JSON escapes C0 characters itself; the rest of them is escaped here, as JSON too.
        return _CONTROL.sub(_as_json_escape, msgspec.json.encode(line).decode())


class _Text(logging.Formatter):
    """One line for people: time, level, what happened, whose call it was."""

    _COLOURS = {"ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m", "WARNING": "\x1b[33m", "DEBUG": "\x1b[2m"}

    def __init__(self, *, has_colour: bool) -> None:
        super().__init__()
        self._has_colour = has_colour

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        details = {**_extra_of(record), **_call_of(record)}
        words = [time, f"{record.levelname:<7}", _one_line(record.getMessage())]
        words += [f"{name}={_one_line(str(value))}" for name, value in details.items() if value != ""]
        line = " ".join(words)
        if self._has_colour and (colour := self._COLOURS.get(record.levelname)):
            line = f"{colour}{line}\x1b[0m"
        if traceback := _traceback_of(record):
            line += "\n" + _CONTROL_BUT_NEWLINE.sub(_as_text_escape, traceback)
        return line


def _call_of(record: logging.LogRecord) -> dict[str, str]:
    """The call that a record belongs to: the one given with it, else the one that is running."""
    context: Context | None = getattr(record, "call", None) or CURRENT.get()
    if context is None:
        return {}
    return {
        "trace_id": context.trace.trace_id,
        "operation": context.operation,
        "subject": _text(context.caller.subject),
    }


def _extra_of(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _text(text: str) -> str:
    """*text*, not too long, of characters only: a lone surrogate is none."""
    return text[:TEXT_CHARS_MAX].encode(errors="backslashreplace").decode()


def _traceback_of(record: logging.LogRecord) -> str:
    """What was raised and where, if anything; never the values of local variables: they may be secrets."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    lines = TracebackException.from_exception(error, capture_locals=False).format()
    # The end says what happened: where it is too long, the beginning goes.
    return _text("".join(lines).rstrip("\n")[-TEXT_CHARS_MAX:])


def _one_line(text: str) -> str:
    return _CONTROL.sub(_as_text_escape, _text(text))


def _as_text_escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _as_json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
