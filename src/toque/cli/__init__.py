"""The command line: `toque --help`.

Exit codes: 0 done, 1 failed, 2 used wrongly.
"""

from __future__ import annotations

import gc
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
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        print(failure, file=sys.stderr)
        sys.exit(failure.code)
    sys.exit(code if isinstance(code, int) else 0)


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
