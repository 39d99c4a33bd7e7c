"""All commands, read from words by cyclopts. Each stands in its own file, which is loaded when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from cyclopts import App
from cyclopts.exceptions import CycloptsError

__all__ = ["call", "cli"]

cli = App(
    name="toque",
    help="Write a typed operation once; Toque serves it over every protocol and format.\n\n"
    "Begin with `toque new my_app`. Every command has examples: `toque COMMAND --help`.",
    version=lambda: metadata.version("toque"),
    help_format="markdown",
    result_action="return_value",
)

# In the order in which a newcomer meets them.
_COMMANDS = {
    "new": "toque.cli.new:new",
    "dev": "toque.cli.dev:dev",
    "run": "toque.cli.run:run",
    "worker": "toque.cli.worker:worker",
    "call": "toque.cli.call:call",
    "token": "toque.cli.token:token",
    "check": "toque.cli.check:check",
    "explain": "toque.cli.explain:explain",
    "settings": "toque.cli.settings:settings",
    "db": "toque.cli.db:db",
    "events": "toque.cli.events:events",
    "jobs": "toque.cli.jobs:jobs",
    "webhooks": "toque.cli.webhooks:webhooks",
    "diff": "toque.cli.diff:diff",
    "export": "toque.cli.export:export",
}
for _place, (_name, _home) in enumerate(_COMMANDS.items()):
    cli.command(_home, name=_name, sort_key=_place)
cli.register_install_completion_command()


def call(words: Sequence[str]) -> Any:
    """What the command that *words* name gives back. Raises: SystemExit with 2 where they cannot be understood."""
    if not words or words[0] not in _COMMANDS:
        _load_all(cli)
    elif len(words) == 1 or words[1].startswith("-") or words[1] not in cli[words[0]]:
        _load_all(cli[words[0]])
    try:
        return cli(words, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)


def _load_all(group: App) -> None:
    """Load every command of *group*, for the list of them: what each is for is said in its own file."""
    for name in group:
        group[name].help  # noqa: B018
