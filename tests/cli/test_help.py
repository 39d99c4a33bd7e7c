"""The help: every command teaches itself with an example, and the shell completes it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from shell import Toque, process

COMMANDS = ["new", "dev", "run", "call", "token", "check", "explain", "settings", "db", "export"]


def test_the_list_of_commands_says_what_each_is_for(toque: Toque) -> None:
    said = toque("--help")

    assert said.code == 0
    for command in COMMANDS:
        [line] = [line for line in said.out.splitlines() if line.startswith(f"│ {command} ")]
        assert len(line.strip("│ ").removeprefix(command).strip()) > 10


@pytest.mark.parametrize(
    "words",
    [[name] for name in COMMANDS if name != "db"] + [["db", "revision"], ["db", "upgrade"], ["db", "current"]],
    ids=" ".join,
)
def test_every_command_has_an_example_and_explains_its_parameters(toque: Toque, words: list[str]) -> None:
    said = toque(*words, "--help")

    assert said.code == 0
    assert f"toque {' '.join(words)}" in said.out.partition("\n")[2], "an example, below the usage"
    parameters = [line.strip("│ ") for line in said.out.splitlines() if line.startswith("│")]
    assert all("  " in line for line in parameters), "each with an explanation"
    assert "**" not in said.out
    assert "Args:" not in said.out


def test_nothing_at_all_is_answered_with_the_help(toque: Toque) -> None:
    said = toque()

    assert (said.code, said.out.startswith("Usage: toque COMMAND")) == (0, True)


@pytest.mark.parametrize("group", [[], ["db"], ["events"], ["jobs"], ["webhooks"]], ids=" ".join)
def test_every_command_of_a_list_says_what_it_is_for(group: list[str]) -> None:
    # In a process of its own, where no other test has loaded any of them.
    said = subprocess.run([sys.executable, "-m", "toque", *group, "--help"], capture_output=True, text=True, check=True)

    listed = [line.strip("│ ") for line in said.stdout.splitlines() if re.match(r"│ [a-z]", line)]
    assert listed
    assert [line for line in listed if "  " not in line] == []


def test_the_version_is_the_package_s(toque: Toque) -> None:
    assert toque("--version").out.strip() == metadata.version("toque")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rnu"], 'Did you mean "run"?'),
        (["run", "--prt", "1"], "Did you mean --port?"),
        (["run", "--port", "high"], "--port"),
        (["db", "upgrad"], 'Did you mean "upgrade"?'),
        (["new"], "NAME"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_is_used_wrongly(toque: Toque, words: list[str], hint: str) -> None:
    said = toque(*words)

    assert said.code == 2
    assert hint in said.err


def test_the_module_runs_too(tmp_path: Path) -> None:
    assert process("--version", cwd=tmp_path).out.strip() == metadata.version("toque")


def test_a_command_loads_its_own_file_only(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom toque.cli import main\n"
        "try:\n    main(['new', 'shop'])\nexcept SystemExit:\n    pass\n"
        "print('toque.cli.run' in sys.modules, 'sqlalchemy' in sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to complete in")
def test_bash_completes_commands_and_options(toque: Toque, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "toque.bash"
    assert toque("--install-completion", "--shell", "bash", "--output", str(script)).code == 0

    def completed(*words: str) -> set[str]:
        code = f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _toque; "
        code += 'echo "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", code], check=True, capture_output=True, text=True)
        return set(done.stdout.split())

    assert completed("toque", "ex") == {"explain", "export"}
    assert completed("toque", "run", "--w") == {"--workers"}
    assert {"revision", "upgrade", "current"} <= completed("toque", "db", "''")
