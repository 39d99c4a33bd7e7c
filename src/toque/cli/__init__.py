"""The command line: `toque --help`.

Exit codes: 0 done, 1 failed, 2 used wrongly. Each command stands in its own file and is loaded when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from toque.cli.failures import Failure, explain

__all__ = ["main"]

cli = App(
    name="toque",
    help="Write a typed operation once; Toque serves it over every protocol and format.",
    version="0.1.0",
    help_format="markdown",
    result_action="return_value",
)

_COMMANDS = {
    "run": "toque.cli.run:run",
    "dev": "toque.cli.dev:dev",
    "check": "toque.cli.check:check",
    "explain": "toque.cli.explain:explain",
    "call": "toque.cli.call:call",
    "token": "toque.cli.token:token",
    "settings": "toque.cli.settings:settings",
    "new": "toque.cli.new:new",
    "export": "toque.cli.export:export",
    "db": "toque.cli.db:db",
}
for _name, _home in _COMMANDS.items():
    cli.command(_home, name=_name)


def main(words: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        code = cli(words, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        failure = error if isinstance(error, Failure) else explain(error)
        if failure is None:
            raise
        print(failure, file=sys.stderr)
        sys.exit(failure.code)
    sys.exit(code if isinstance(code, int) else 0)
