"""A history keeps every line of everybody, in the order in which they were written, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toque.testing.faults.history import LINE_BYTES_MAX, History, Line, lines_of

WRITER = """
import os, signal, sys
from pathlib import Path
from toque.testing.faults.history import History, Line
history = History(Path(sys.argv[1]))
for number in range(1000):
    history.write(Line(what="began", life=sys.argv[2], id=str(number), key="k" * (number % 300)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lines_of_many_processes_are_whole_and_outlive_them(tmp_path: Path) -> None:
    path = tmp_path / "history"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"n{number}"]) for number in range(3)]
    ends = [writer.wait() for writer in writers]
    lines = list(lines_of(path))

    assert ends == [-signal.SIGKILL] * 3
    for life in ("n0", "n1", "n2"):
        assert [int(line.id) for line in lines if line.life == life] == list(range(1000))


def test_a_line_is_there_when_its_writer_goes_on(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    line = Line(what="asked", id="a", is_once=True, told='"\n"')
    history.write(line)

    assert list(lines_of(tmp_path / "history")) == [line]
    history.close()


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = History(path)
    history.write(Line(what="asked", id="a"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])

    assert [line.id for line in lines_of(path)] == ["a"]
    path.write_bytes(whole + whole)
    assert [line.id for line in lines_of(path)] == ["a", "a"]
    history.close()


def test_a_line_has_a_length(tmp_path: Path) -> None:
    history = History(tmp_path / "history")

    with pytest.raises(ValueError, match="at most"):
        history.write(Line(what="asked", told="x" * LINE_BYTES_MAX))
    assert os.stat(tmp_path / "history").st_size == 0
    history.close()
