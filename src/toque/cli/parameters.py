"""Parameters that many commands have: TARGET, as a word or as an option."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter, validators

__all__ = ["AppTarget", "Limit", "Target"]

Target = Annotated[str, Parameter(help="`package.module:app`, a file or a folder; the working folder unless given.")]

AppTarget = Annotated[Target, Parameter(name="--app")]
"""The same as an option, of commands that are about something within an app. Those that list what an app has take it as
a word, too."""

Limit = Annotated[int, Parameter(validator=validators.Number(gte=1))]
"""How many rows of a list are shown at most: what less than one means is another thing for each database."""
