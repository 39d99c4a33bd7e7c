"""What a new manifest breaks for those who use the old one: a comparison of two documents, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toque.contract.access import authenticated
from toque.contract.changes_of_messages import message_changes
from toque.contract.fit import Fit, Schemas
from toque.contract.manifest import AccessEntry, InputEntry, Manifest, OperationEntry

__all__ = ["breaking_changes"]


def breaking_changes(old: Manifest, new: Manifest) -> list[str]:
    """What a caller of *old* can stumble over in *new*, a sentence each; empty where he cannot."""
    present = {entry.name: entry for entry in new.operations}
    found: list[str] = []
    for entry in old.operations:
        if (successor := present.get(entry.name)) is None:
            found.append(f"{entry.name} is gone")
        else:
            found += [f"{entry.name}: {change}" for change in _changes(entry, successor, old.schemas, new.schemas)]
    return [*found, *message_changes(old, new)]


def _changes(old: OperationEntry, new: OperationEntry, before: Schemas, after: Schemas) -> Iterator[str]:
    yield from _address_changes(old, new)
    yield from _access_changes(old.access, new.access)
    yield from _input_changes(old.inputs, new.inputs, before, after)
    yield from _output_changes(old, new, before, after)
    if old.is_idempotent and not new.is_idempotent:
        yield "it takes no idempotency key any more"
    if new.deadline_s < old.deadline_s:
        yield f"its deadline is {new.deadline_s:g} s, and was {old.deadline_s:g} s"
    if 0 < new.body_bytes_max < old.body_bytes_max:
        yield f"it takes bodies of {new.body_bytes_max} bytes, and took {old.body_bytes_max}"


def _address_changes(old: OperationEntry, new: OperationEntry) -> Iterator[str]:
    if old.kind != new.kind:
        yield f"it is a {new.kind}, and was a {old.kind}"
    if old.path is not None and (old.method, old.path) != (new.method, new.path):
        yield (
            f"it is at {new.method} {new.path}, and was at {old.method} {old.path}" if new.path else "it has no path"
        )
    if old.path is not None and old.status != new.status:
        yield f"it answers {new.status}, and answered {old.status}"
    for word, gone in (
        ("takes", [one for one in old.takes if one not in new.takes]),
        ("answers in", [one for one in old.gives if one not in new.gives]),
    ):
        if gone:
            yield f"it no longer {word} {', '.join(gone)}"


def _access_changes(old: AccessEntry, new: AccessEntry) -> Iterator[str]:
    """Whoever could call must still be able to; rules other than roles must stay as they are."""
    if new.is_public or old == new:
        return
    is_for_any_proven = new.words == authenticated.words and not old.is_public
    has_more_roles = _is_of_roles(old) and _is_of_roles(new) and set(old.roles) <= set(new.roles)
    if not is_for_any_proven and not has_more_roles:
        yield f"it is for {new.words}, and was for {old.words}"


def _is_of_roles(access: AccessEntry) -> bool:
    """Whether the rule is one `role(...)`, of which each name suffices."""
    words = access.words.removeprefix("role ")
    return words != access.words and sorted(words.split(" or ")) == sorted(access.roles)


def _input_changes(
    old: Sequence[InputEntry], new: Sequence[InputEntry], before: Schemas, after: Schemas
) -> Iterator[str]:
    known = {entry.name: entry for entry in old}
    for entry in new:
        if entry.name not in known and entry.is_required:
            yield f"input {entry.name} is new and required"
    present = {entry.name: entry for entry in new}
    for name, entry in known.items():
        successor = present.get(name)
        if successor is None:
            yield f"input {name} is gone"
            continue
        if entry.place != successor.place or entry.wire_name != successor.wire_name:
            yield (
                f"input {name} is {successor.wire_name!r} in the {successor.place}, "
                f"and was {entry.wire_name!r} in the {entry.place}"
            )
        if successor.is_required and not entry.is_required:
            yield f"input {name} is required, and was not"
        yield from Fit(before, after).misfits(entry.schema, successor.schema, f"input {name}")


def _output_changes(old: OperationEntry, new: OperationEntry, before: Schemas, after: Schemas) -> Iterator[str]:
    if old.output is None:
        return
    if new.output is None:
        yield "it no longer answers anything"
        return
    if old.output.is_stream != new.output.is_stream:
        yield ("it answers a stream, and answered a whole" if new.output.is_stream else "it answers no stream any more")
    fit = Fit(after, before, is_output=True)
    yield from fit.misfits(new.output.schema, old.output.schema, "output")
