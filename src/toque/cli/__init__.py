"""The command line: `toque --help`.

Exit codes: 0 done, 1 failed, 2 used wrongly. Each command stands in its own file and is loaded when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from toque.cli.failures import Failure, failure_of

__all__ = ["main"]

cli = App(
    name="toque",
    help="Write a typed operation once; Toque serves it over every protocol and format.",
    version="0.1.0",
    help_format="markdown",
    result_action="return_value",
)

_COMMANDS = (
    ("run", "toque.cli.run:run", "Serve an app."),
    ("dev", "toque.cli.dev:dev", "Serve an app, anew after every change of its files."),
    ("new", "toque.cli.new:new", "Make a small app that passes its own tests."),
    ("check", "toque.cli.check:check", "Say everything that would keep an app from starting."),
    ("explain", "toque.cli.explain:explain", "Print what an operation is compiled to, and why."),
    ("call", "toque.cli.call:call", "Call an operation with key=value."),
    ("token", "toque.cli.token:token", "Print a token to try an app with, in development."),
    ("settings", "toque.cli.settings:settings", "Print every setting, its value and its source."),
    ("export", "toque.cli.export:export", "Write the OpenAPI document or the manifest."),
    ("db", "toque.cli.db:db", "Migrations: revision, upgrade, current."),
)
for _name, _home, _help in _COMMANDS:
    cli.command(_home, name=_name, help=_help)
cli.register_install_completion_command()


def main(words: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        code = cli(words, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        failure = error if isinstance(error, Failure) else failure_of(error)
        if failure is None:
            raise
        print(failure, file=sys.stderr)
        sys.exit(failure.code)
    sys.exit(code if isinstance(code, int) else 0)
