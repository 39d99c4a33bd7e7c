"""`toque diff`: one release's manifest against the next one's app."""

from __future__ import annotations

from pathlib import Path

from shell import Toque, write

APP = """
from toque import App, Event, Outbox, public

class Rung(Event):
    number: int
    {field}

app = App("bells", version="{version}")

@app.command(allow=public)
async def ring(number: int, outbox: Outbox) -> None:
    outbox.publish(Rung(number))

@app.on(Rung)
async def {handler}(event: Rung) -> None: ...
"""


def release(folder: Path, name: str, *, field: str = "at: str = ''", handler: str = "hear") -> None:
    write(folder, {f"{name}.py": APP.format(field=field, handler=handler, version=name)})


def test_a_release_is_compared_with_the_one_before(toque: Toque, tmp_path: Path) -> None:
    release(tmp_path, "first")
    release(tmp_path, "same")
    release(tmp_path, "other", field="", handler="listen")
    assert toque("export", "manifest", "first.py", "--out", "first.json").code == 0

    same, other = toque("diff", "first.json", "same.py"), toque("diff", "first.json", "other.py")

    assert (same.code, same.out) == (0, "bells same breaks nothing of bells first\n")
    assert other.code == 1
    assert other.out.splitlines() == [
        "event Rung: its data.at is gone",
        "handler bells.hear is gone: its place in the log is lost, and what is parked for it is handled by nobody",
    ]


def test_what_is_no_manifest_is_said_to_be_none(toque: Toque, tmp_path: Path) -> None:
    release(tmp_path, "first")
    (tmp_path / "bad.json").write_text('{"manifest": 1}')
    (tmp_path / "next.json").write_text(toque("export", "manifest", "first.py").out.replace("1", "9", 1))

    bad, gone, newer = (toque("diff", name, "first.py") for name in ("bad.json", "gone.json", "next.json"))

    assert (bad.code, gone.code, newer.code) == (2, 2, 2)
    assert "bad.json is no manifest" in bad.err
    assert "toque export manifest" in bad.err
    assert "cannot read gone.json" in gone.err
    assert "has the form 9" in newer.err
