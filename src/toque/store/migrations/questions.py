"""What the models cannot tell, and only their author can: was it renamed, what goes into the old rows?

An answer comes from a flag or from a person at a terminal. Without either nothing is guessed: all open questions
are told at once, each with the flag that answers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches

from toque.store.migrations.refused import Refused

__all__ = ["Asker", "Questions", "likeness"]


class Asker:
    """Asks nobody. A terminal overrides it: each answer is None where the person does not know."""

    def renamed(self, old: str, candidates: Sequence[str]) -> str | None:
        """Which of *candidates*, likeliest first, *old* is called now; empty: none of them."""
        return None

    def value(self, column: str, kind: str, example: str) -> str | None:
        """The SQL of what the rows that are there get in *column*."""
        return None

    def replaced(self, value: str, values: Sequence[str]) -> str | None:
        """Which of *values* stands in for one that is no more."""
        return None


class Questions:
    """The answers, and what is still open.

    Args:
        renames: `table=new_table`, `table.column=new_column`.
        values: `table.column=SQL`.
        replacements: `enum.value=other`.
        nothing_renamed: whether all that is gone is meant to go.
    """

    def __init__(
        self,
        renames: Sequence[str] = (),
        values: Sequence[str] = (),
        replacements: Sequence[str] = (),
        *,
        nothing_renamed: bool = False,
        asker: Asker | None = None,
    ) -> None:
        self._renames = _pairs(renames, "--rename", "orders.note=remark")
        self._values = _pairs(values, "--value", "orders.note=\"''\"")
        self._replacements = _pairs(replacements, "--replace", "mood.sad=calm")
        self._used: set[str] = set()
        self._seen: set[str] = set()
        self._nothing_renamed = nothing_renamed
        self._asker = asker or Asker()
        self._open: list[str] = []

    def renamed(self, old: str, candidates: Sequence[str]) -> str | None:
        """What *old* is called now; None where it is gone."""
        self._seen.add(old)
        if old in self._renames:
            new = self._renames[old].rpartition(".")[2]
            if new not in candidates:
                near = get_close_matches(new, candidates, 1, 0)
                raise Refused(
                    f"--rename {old}={new}: the models have no new {new!r} there"
                    + (f"; nearest: {near[0]}" if near else "")
                )
            self._used.add(old)
            return new
        if self._nothing_renamed or not candidates:
            return None
        answer = self._asker.renamed(old, candidates)
        if answer is None:
            self._open.append(
                f"{old} is gone, and {', '.join(candidates)} {'is' if len(candidates) == 1 else 'are'} new: renamed? "
                f"Pass --rename {old}={candidates[0]} to keep its data, or --no-rename to drop it."
            )
        return answer or None

    def value(self, column: str, kind: str, example: str) -> str:
        """The SQL of what the rows that are there get in *column*, which must not be NULL."""
        self._seen.add(column)
        answer = self._values.get(column) or self._asker.value(column, kind, example)
        if answer is None:
            self._open.append(
                f"{column} must not be NULL and has no default: what do the rows get that are there? "
                f"Pass --value {column}={example} (SQL, other columns too), or give the model a server_default."
            )
        self._used.add(column)
        return answer or "NULL"

    def replaced(self, value: str, values: Sequence[str]) -> str:
        """Which value stands in for *value* (`enum.value`), which is no more."""
        self._seen.add(value)
        answer = self._replacements.get(value) or self._asker.replaced(value, values)
        if answer is not None and answer not in values:
            raise Refused(f"--replace {value}={answer}: expected one of {', '.join(values)}.")
        if answer is None:
            self._open.append(
                f"{value} is no value any more, and rows may hold it. Pass --replace {value}={values[0]} to rewrite "
                "them, or keep it in the model."
            )
        self._used.add(value)
        return answer or values[0]

    def close(self) -> None:
        """Raises: Refused with everything that is open, and with flags that answer what nobody asked."""
        given = {*self._renames, *self._values, *self._replacements}
        unasked = sorted(given - self._used)
        for flag in unasked:
            near = get_close_matches(flag, self._seen - self._used, 1)
            self._open.append(
                f"{flag!r} was answered, but is no question here" + (f"; nearest: {near[0]!r}." if near else ".")
            )
        if self._open:
            raise Refused("\n".join(["the models leave something open:", *(f"  {line}" for line in self._open)]))


def likeness(old: str, new: str, *, is_same_kind: bool) -> float:
    """How probable it is that *old* became *new*: their letters, and whether they hold the same."""
    return SequenceMatcher(None, old, new).ratio() + (0.5 if is_same_kind else 0.0)


def _pairs(given: Sequence[str], flag: str, example: str) -> dict[str, str]:
    found = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not (name and sign and value):
            raise Refused(f"{flag} {pair}: expected something like {example}")
        found[name.strip()] = value.strip()
    return found
