"""`toque run` in plain words: understood as cyclopts would, and without it."""

from __future__ import annotations

import itertools

import pytest

from toque.cli.commands import cli
from toque.cli.plain import plain_run

WORDS = (
    *("shop", "./shop.py:app", "-", "--", "", "::1", "0", "08", "-1", "1_0", "\N{ARABIC-INDIC DIGIT THREE}"),
    *("--host", "--host=::1", "--port", "--port=0", "--fd=", "--target=shop"),
)


def test_plain_words_mean_what_cyclopts_takes_them_for() -> None:
    every = (["run", *words] for length in range(4) for words in itertools.product(WORDS, repeat=length))
    understood = [(words, asked) for words in every if (asked := plain_run(words)) is not None]

    assert len(understood) > 100
    for words, asked in understood:
        function, bound, _ = cli.parse_args(words, exit_on_error=False, print_error=False)
        assert (function.__name__, dict(bound.arguments)) == ("run", asked), words


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["run"], {}),
        (["run", "shop"], {"target": "shop"}),
        (
            ["run", "shop.web:app", "--host", "0.0.0.0", "--port=0"],
            {"target": "shop.web:app", "host": "0.0.0.0", "port": 0},
        ),
        (["run", "--workers", "4", "shop", "--fd", "3"], {"target": "shop", "workers": 4, "fd": 3}),
    ],
    ids=" ".join,
)
def test_the_usual_words_are_plain(words: list[str], asked: dict[str, object]) -> None:
    assert plain_run(words) == asked


@pytest.mark.parametrize(
    "words", [[], ["dev", "shop"], ["run", "--help"], ["run", "--prt", "1"], ["run", "--port", "high"]]
)
def test_others_are_for_cyclopts(words: list[str]) -> None:
    assert plain_run(words) is None
