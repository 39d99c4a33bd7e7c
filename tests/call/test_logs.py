"""Logs: one line a record, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.call.context import CURRENT, Context
from toque.call.logs import TEXT_CHARS_MAX, configure, reporter
from toque.contract.errors import Unavailable
from toque.contract.principal import Principal
from toque.settings import Secret

T, P = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
log = logging.getLogger("toque.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """The toque logger as it was: other tests read it through caplog."""
    logger = logging.getLogger("toque")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def context() -> Context:
    call = Context("menu.list", monotonic() + 10, f"00-{T}-{P}-01", "Bearer hunter2")
    call.principal = Principal(subject="ana")
    return call


def written(form: Any, stream: io.StringIO | None = None, level: str = "debug") -> io.StringIO:
    stream = stream or io.StringIO()
    configure(level, form, stream=stream)
    return stream


def test_a_json_record_is_one_line_with_its_call() -> None:
    stream = written("json")
    token = CURRENT.set(context())

    log.info("cooked %s", "soup", extra={"station": "grill", "portions": 3})
    CURRENT.reset(token)

    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "info",
        "logger": "toque.test",
        "message": "cooked soup",
        "trace_id": T,
        "operation": "menu.list",
        "subject": "ana",
        "station": "grill",
        "portions": 3,
    }


def test_a_text_record_says_the_same_for_people() -> None:
    stream = written("text")
    token = CURRENT.set(context())

    log.warning("cooked %s", "soup", extra={"portions": 3})
    CURRENT.reset(token)

    assert stream.getvalue().endswith(f"WARNING cooked soup portions=3 trace_id={T} operation=menu.list subject=ana\n")


def test_outside_of_calls_there_is_no_call_to_name() -> None:
    stream = written("json")

    log.info("started")

    assert "trace_id" not in json.loads(stream.getvalue())


HOSTILE = 'one\ntwo\r\nthree\x1b[31m\x9b31m\u2028"}{"level":"error\x00\x7f\ud800'


@pytest.mark.parametrize("form", ["json", "text"])
def test_hostile_text_neither_begins_a_line_nor_colours_a_terminal(form: str) -> None:
    stream = written(form)
    current = context()
    current.principal = Principal(subject=HOSTILE)
    token = CURRENT.set(current)

    log.info(HOSTILE + "%s", HOSTILE, extra={"dish": HOSTILE})
    CURRENT.reset(token)

    line = stream.getvalue().removesuffix("\n")
    assert len(line.splitlines()) == 1
    assert line.isprintable()


@given(st.text(), st.text())
def test_every_record_is_one_line_of_json(message: str, dish: str) -> None:
    stream = written("json")

    log.info("%s", message, extra={"dish": dish})

    line = stream.getvalue().removesuffix("\n")
    assert len(line.splitlines()) == 1
    record = json.loads(line)
    expected = message.encode(errors="backslashreplace").decode()
    assert (record["message"], record["level"]) == (expected, "info")


def test_what_a_record_adds_cannot_pretend_to_be_something_else() -> None:
    stream = written("json")

    log.info("hello", extra={"level": "critical", "time": "never"})

    record = json.loads(stream.getvalue())
    assert record["level"] == "info"
    assert record["time"] != "never"


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_has_its_traceback_without_the_local_values(form: str) -> None:
    stream = written(form)

    def cook(password: str) -> None:
        raise ValueError("burnt\x1b[2J")

    try:
        cook("hunter2")
    except ValueError:
        log.exception("failed")

    text = stream.getvalue()
    assert "in cook" in text
    assert "ValueError: burnt" in text
    assert "hunter2'" not in text.replace('cook("hunter2")', "")
    assert "\x1b" not in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_neither_secrets_nor_credentials_are_written(form: str) -> None:
    stream = written(form)
    token = CURRENT.set(context())

    log.info(
        "%s %r",
        Secret("hunter2"),
        Secret("hunter2"),
        extra={"key": Secret("hunter2"), "all": [Secret("hunter2")]},
    )
    CURRENT.reset(token)

    assert "hunter2" not in stream.getvalue()


def test_a_record_is_never_longer_than_a_collector_takes() -> None:
    stream = written("json")

    log.info("x" * 1_000_000)

    assert len(json.loads(stream.getvalue())["message"]) == TEXT_CHARS_MAX


def test_colour_is_for_terminals_only() -> None:
    piped, terminal = written("text"), Terminal()
    log.error("burnt")
    written("text", terminal)
    log.error("burnt")

    assert "\x1b" not in piped.getvalue()
    assert terminal.getvalue().startswith("\x1b[31m")


def test_auto_means_text_on_a_terminal_and_json_elsewhere() -> None:
    piped, terminal = written("auto"), Terminal()
    log.info("cooked")
    written("auto", terminal)
    log.info("cooked")

    assert json.loads(piped.getvalue())["message"] == "cooked"
    assert "INFO    cooked" in terminal.getvalue()


def test_configuring_again_replaces_and_does_not_repeat() -> None:
    first, second = written("json"), written("json", level="warning")

    log.info("quiet")
    log.warning("loud")

    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


ENDS = [
    ("ok", 0.0),
    ("ok", 5.0),
    ("not_found", 0.0),
    ("cancelled", 0.0),
    ("unavailable", 0.0),
    ("internal", 0.0),
]


def test_what_libraries_say_has_the_same_form() -> None:
    """A collector that takes JSON lines was given others whenever a library complained."""
    program = """if True:
        import logging
        from toque.call.logs import configure
        configure("info", "json")
        logging.getLogger("asyncio").error("a task was lost\\nas it seems")
        logging.getLogger("asyncio").info("a detail")
    """
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    line = json.loads(said.stderr)
    assert (line["logger"], line["level"], line["message"]) == ("asyncio", "error", "a task was lost\nas it seems")


def test_a_line_names_the_kind_of_what_was_in_the_way_and_not_its_words() -> None:
    """A full disk and a wrong password were both `unavailable`, and nothing else was to be found."""
    stream = written("json")
    report, _ = reporter("failed", slow_ms=1000)
    error = Unavailable("The database does not answer.")
    error.__cause__ = ConnectionRefusedError("secret")

    report(context(), "unavailable", 0.1, error)

    assert json.loads(stream.getvalue())["cause"] == "ConnectionRefusedError"
    assert "secret" not in stream.getvalue()


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("none", []),
        ("failed", [("warning", "ok"), ("error", "unavailable"), ("error", "internal")]),
        (
            "refused",
            [
                ("warning", "ok"),
                ("info", "not_found"),
                ("info", "cancelled"),
                ("error", "unavailable"),
                ("error", "internal"),
            ],
        ),
        (
            "all",
            [
                ("info", "ok"),
                ("warning", "ok"),
                ("info", "not_found"),
                ("info", "cancelled"),
                ("error", "unavailable"),
                ("error", "internal"),
            ],
        ),
    ],
)
def test_calls_get_a_line_as_the_settings_say(calls: Any, expected: list[tuple[str, str]]) -> None:
    stream = written("json")
    report, above_s = reporter(calls, slow_ms=1000)

    for code, seconds in ENDS:
        if code != "ok" or seconds >= above_s:
            report(context(), code, seconds, None)

    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(record["level"], record["code"]) for record in records] == expected
    assert all((record["trace_id"], record["operation"]) == (T, "menu.list") for record in records)
