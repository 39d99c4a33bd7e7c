"""What is wrong with a set-up: all of it at once, each with a remedy."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

__all__ = ["Complaint", "SetupError"]


class Complaint(Struct, frozen=True):
    """One thing that keeps an app from starting."""

    subject: str
    """What it is about: an operation's name, a setting, a path."""
    problem: str
    remedy: str = ""
    where: str = ""
    """`file.py:12`, where it is to be mended."""

    def __str__(self) -> str:
        text = f"{self.subject}: {self.problem}" + (f"\n    -> {self.remedy}" if self.remedy else "")
        return text + (f"\n       {self.where}" if self.where else "")


class SetupError(Exception):
    """The app cannot start; `complaints` are all the reasons."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        count = len(self.complaints)
        heading = "The app cannot start: " + ("1 problem." if count == 1 else f"{count} problems.")
        super().__init__("\n".join([heading, *(f"  {complaint}" for complaint in self.complaints)]))
