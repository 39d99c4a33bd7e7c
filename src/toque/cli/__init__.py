"""The command line: `toque --help`.

Exit codes: 0 done, 1 failed, 2 used wrongly.
"""

from __future__ import annotations

import gc
import os
import select
import sys
from collections.abc import Sequence

from toque.cli.failures import failure_of
from toque.cli.plain import plain_run

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        code = _call(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader():
            sys.exit(1)
        failure = failure_of(error)
        if failure is None:
            raise
        print(failure, file=sys.stderr)
        sys.exit(failure.code)
    sys.exit(code if isinstance(code, int) else 0)


def _has_no_reader() -> bool:
    """Whether whoever read our output has heard enough, as `head` has. What is left for him then goes nowhere, so that
    Python does not complain of it at its end (the manual of `signal`, "Note on SIGPIPE")."""
    output = sys.stdout.fileno()
    looked = select.poll()
    looked.register(output, 0)  # What is asked for nothing tells of errors and hang-ups alone (poll(2)).
    if not looked.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _call(words: Sequence[str]) -> object:
    asked = plain_run(words)
    if asked is not None:
        # What is loaded for a server lives as long as it does; `serve` has the garbage collector on again in time.
        gc.disable()
        from toque.cli.serve import serve

        serve(**asked)
        return None
    from toque.cli.commands import call

    return call(words)
