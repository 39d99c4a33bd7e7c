"""`python -m bench`: start the kitchen, let every contender take its turns, report."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench import goals, load, page, report
from bench.machine import Cores, on_core
from bench.measure import Effort, Result, kitchen, measure
from bench.options import read_options
from bench.works import Work

BUSY = 0.5  # load average before we begin; half a core of neighbours bends rates on the two cores we use

OnTurn = Callable[[str, str, int], None]


def main() -> int:
    options = read_options()
    if options.list:
        list_works(options.works)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that our servers end when we are told to
    if any(work.measured == "under load" for work in options.works):
        load.compiled()
    cores = Cores.of_this_machine()
    if (busy := os.getloadavg()[0]) > BUSY:
        print(
            f"the machine is busy (load average {busy:.1f}): trust CPU, not rates or first answers",
            file=sys.stderr,
        )
    with on_core(cores.load):  # we, too, leave the server's core alone
        results = run(options.works, options.effort, cores)
    report.print_tables(results, options.effort)
    report.write_json(results, options.json)
    if options.write_docs:
        page.write(results, options.effort)
    return int(any(result.failure or result.figures.errors for result in results))


def run(works: tuple[Work, ...], effort: Effort, cores: Cores) -> list[Result]:
    turns = sum(len(work.contenders) for work in works) * effort.rounds
    with kitchen(works, cores) as place, progress(turns) as on_turn:
        return [result for work in works for result in measure(work, effort, place, on_turn)]


@contextmanager
def progress(turns: int) -> Iterator[OnTurn]:
    """A bar on a terminal, a line a turn elsewhere."""
    if not sys.stderr.isatty():
        yield lambda work, contender, number: print(f"{work}: {contender}, round {number}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=turns)
        done = iter(range(turns))
        yield lambda work, contender, number: bar.update(
            task, description=f"{work}: {contender}, round {number}", completed=next(done)
        )


def list_works(works: tuple[Work, ...]) -> None:
    for work in works:
        print(f"{work.name}: {work.title}")
        print(f"    by {', '.join(each.name for each in work.contenders)}")
        for goal in work.goals:
            print(f"    goal: {goals.wording(goal, work.unit)}")


if __name__ == "__main__":
    sys.exit(main())
