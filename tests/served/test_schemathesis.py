"""What the OpenAPI document promises, tried by schemathesis: no 5xx, no undeclared answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import Served, environment_of, serving, start, toque, until

pytestmark = pytest.mark.xdist_group("openapi")

RESTAURANT = Path(__file__).parents[2] / "examples" / "restaurant"
GIVE_UP_S = 300
EXAMPLES = 8
OPINIONS = "positive_data_acceptance,negative_data_rejection"
"""Checks that take the schema for all there is to say: 9.0 for an integer, a dish that is not on the menu."""


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving("sink", tmp_path_factory.mktemp("sink")) as served:
        yield served


@pytest.fixture(scope="module")
def restaurant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("restaurant")
    settings = {"database.url": f"sqlite:///{folder}/restaurant.db"}
    served = start(["run", str(RESTAURANT), "--port", "0"], folder, environment_of(settings))
    until(served.answers, "the first answer")
    yield served
    served.stop()


def _try(served: Served, token: str, *more: str, examples: int = EXAMPLES) -> subprocess.CompletedProcess[str]:
    words = [
        "run", f"{served.url}/openapi.json", "--checks", "all", "--max-examples", str(examples),
        "--generation-deterministic", "--workers", "1", "--no-color", "--header", f"Authorization: Bearer {token}",
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words, *more],
        check=False, capture_output=True, text=True, timeout=GIVE_UP_S, cwd=served.folder,
    )  # fmt: skip


def _cook(served: Served) -> str:
    return _token(str(served.folder / "app"), "cook", folder=served.folder)


def _token(target: str, *roles: str, folder: Path) -> str:
    words = [word for role in roles for word in ("--role", role)]
    return toque("token", target, "--sub", "ana", *words, folder=folder).stdout.strip()


def _failures(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.partition("= FAILURES =")[2].partition("= WARNINGS =")[0] or done.stdout


def test_every_kind_of_input_keeps_its_promise(sink: Served) -> None:
    done = _try(sink, _cook(sink), "--exclude-checks", OPINIONS)

    assert done.returncode == 0, _failures(done)
    assert sink.problems_in_log() == []


def test_the_restaurant_keeps_its_promise(restaurant: Served) -> None:
    token = _token(str(RESTAURANT), "waiter", "cook", folder=restaurant.folder)

    done = _try(restaurant, token, "--exclude-checks", OPINIONS)

    assert done.returncode == 0, _failures(done)
    assert restaurant.problems_in_log() == []


def test_the_document_is_the_one_that_the_command_line_writes(sink: Served) -> None:
    served = httpx.get(f"{sink.url}/openapi.json").json()
    written = toque("export", "openapi", str(sink.folder / "app"), folder=sink.folder)

    assert written.returncode == 0
    assert httpx.Response(200, text=written.stdout).json() == served
