"""A failure that lasts is said once, and so is its end."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from toque.call import trouble as troubles
from toque.call.trouble import Trouble

log = logging.getLogger("toque")


def test_what_lasts_is_said_once_and_so_is_its_end(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "toque")
    trouble = Trouble(log, "nothing is done")

    trouble.over()
    for _ in range(3):
        trouble.met(OSError("no disk"))
    trouble.met(OSError("no room"))
    trouble.over()
    trouble.over()

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "nothing is done: no disk; trying again"),
        (logging.WARNING, "nothing is done: no room; trying again"),
        (logging.INFO, "nothing is done: that is over"),
    ]


def test_what_lasts_long_is_said_again(caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "AGAIN_S", 0.0)
    trouble = Trouble(log, "nothing is done")

    trouble.met(OSError("no disk"))
    trouble.met(OSError("no disk"))

    assert len(caplog.records) == 2
