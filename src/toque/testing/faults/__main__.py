"""`python -m toque.testing.faults package.module:scenario --seed 7`: one schedule again, or many."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toque.testing.faults.campaign import AT_ONCE, run

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m toque.testing.faults", description="Run an app under faults.")
    parser.add_argument("target", help="package.module:name of a Scenario, found from this folder")
    parser.add_argument("--seed", type=int, help="this schedule alone")
    parser.add_argument("--first", type=int, default=0, help="the first of many seeds")
    parser.add_argument("--count", type=int, default=100, help="how many seeds")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="how many runs go on at once")
    parser.add_argument("--brief", action="store_true", help="print one line for each seed that finds something")
    given = parser.parse_args()
    sys.path.insert(0, str(Path.cwd()))
    seeds = range(given.first, given.first + given.count) if given.seed is None else [given.seed]
    report = run(given.target, seeds, database=given.database, at_once=given.at_once)
    print("\n".join(report.lines()) if given.brief else report)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
