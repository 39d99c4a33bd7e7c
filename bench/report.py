"""The tables of a run: on the terminal, and as the JSON list that scripts read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from bench.goals import Verdict, verdicts
from bench.machine import description
from bench.measure import Effort, Result

Row = tuple[str, ...]

FIGURES_HEAD: Row = (
    "work",
    "contender",
    "a second",
    "CPU us each",
    "p50 ms",
    "p99 ms",
    "database CPU us",
    "first answer s",
    "memory MB",
    "stale",
    "queries",
    "all ms",
    "errors",
)
GOALS_HEAD: Row = ("work", "goal for toque", "measured", "by CPU", "")

STYLES = {"missed": "red", "not measured": "yellow"}
WIDTH_OF_A_FILE = 170  # where the output goes to no terminal, whose width would be known

# What every row of the JSON has, even if only as null; other figures are there where they apply.
ALWAYS = ("requests_per_s", "cpu_us_per_request", "p50_ms", "p99_ms")


def print_tables(results: list[Result], effort: Effort) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH_OF_A_FILE)
    for head, rows in ((FIGURES_HEAD, figures_rows(results)), (GOALS_HEAD, goals_rows(verdicts(results)))):
        table = Table()
        for number, column in enumerate(head):
            table.add_column(column, justify="left" if number < 2 else "right", no_wrap=number < 2)
        for row in rows:
            table.add_row(*map(escape, row), style=STYLES.get(row[-1]))
        console.print(table)
    console.print(conditions(effort))
    for failure, where in failures(results).items():
        console.print(f"\n[yellow]Not measured: {escape(where)}[/]\n{escape(failure)}")


def failures(results: list[Result]) -> dict[str, str]:
    """Each reason for a missing figure, once, with all the places where it struck."""
    where: dict[str, list[str]] = {}
    for result in results:
        if result.failure:
            where.setdefault(result.failure, []).append(f"{result.contender.name} at {result.work.name}")
    return {failure: ", ".join(places) for failure, places in where.items()}


def conditions(effort: Effort) -> str:
    return (
        f"{description()}. Medians of {effort.rounds} rounds of {effort.seconds:g} s, each after "
        f"{effort.warm_up_s:g} s of warm-up; the server alone on one core. PostgreSQL with fsync off, except "
        f"where a work says that it is on."
    )


def figures_rows(results: list[Result]) -> list[Row]:
    return [(result.work.title, result.contender.name, *figures_cells(result)) for result in results]


def figures_cells(result: Result) -> Row:
    if result.failure:
        return (*[""] * (len(FIGURES_HEAD) - 3), "not measured")
    figures = result.figures
    columns = (
        (figures.requests_per_s, ",.0f"),
        (figures.cpu_us_per_request, ",.1f"),
        (figures.p50_ms, ",.1f"),
        (figures.p99_ms, ",.1f"),
        (figures.database_cpu_us_per_request, ",.0f"),
        (figures.first_answer_s, ".3f"),
        (figures.memory_mb, ".0f"),
        (figures.stale_reads, ".0f"),
        (figures.queries, ".2f"),
        (figures.last_ms, ",.1f"),
        (figures.errors, "d"),
    )
    return tuple("" if value is None else format(value, form) for value, form in columns)


def goals_rows(judged: list[Verdict]) -> list[Row]:
    return [(each.work, each.wording, ratio_cell(each.measured), ratio_cell(each.by_cpu), each.word) for each in judged]


def ratio_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def write_json(results: list[Result], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([json_row(result) for result in results], indent=2) + "\n")
    print(f"wrote {file}")


def json_row(result: Result) -> dict[str, object]:
    figures = asdict(result.figures)
    row = {
        "work": result.work.name,
        "contender": result.contender.name,
        **{name: figures[name] for name in ALWAYS},
    }
    return row | {name: value for name, value in figures.items() if name not in ALWAYS and value is not None}
