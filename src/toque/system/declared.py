"""What modules declare, read: each operation with its signature, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from toque import checks, message_checks
from toque.call.resources import Pantry
from toque.contract.complaints import Complaint, SetupError
from toque.contract.module import Module
from toque.contract.operation import Operation
from toque.contract.signature import Signature, SignatureError, read_signature

__all__ = ["Declared", "Read", "read_declared"]

Read = tuple[Operation, Signature]


class Declared(Struct, frozen=True, eq=False):
    """All that could be read."""

    pantry: Pantry
    operations: Sequence[Read]
    seeds: Sequence[Read]
    handlers: Sequence[Read]
    jobs: Sequence[Read]

    def needs(self, *types: type) -> bool:
        """Whether anything of it, or anything made for it, asks for one of *types*."""
        every = (*self.operations, *self.seeds, *self.handlers, *self.jobs)
        wanted = (tp for _, signature in every for _, tp in signature.resources)
        return not self.pantry.closure(wanted).isdisjoint(types)


def read_declared(modules: Sequence[Module], pantry: Pantry, wrong: list[Complaint]) -> Declared:
    """All that *modules* declare; what is wrong with it joins *wrong*, what they make joins *pantry*."""
    modules = list(dict.fromkeys(modules))
    wrong += _learn_recipes(pantry, modules)

    def read(of: Callable[[Module], list[Operation]], check: Check | None = None) -> Sequence[Read]:
        found = list(_read([operation for module in modules for operation in of(module)], pantry, wrong))
        if check is not None:
            wrong.extend(complaint for each in found for complaint in check(*each))
        return found

    return Declared(
        pantry,
        operations=read(lambda module: module.operations),
        seeds=read(lambda module: module.seeds, checks.of_seed),
        handlers=read(lambda module: module.handlers, message_checks.of_handler),
        jobs=read(lambda module: module.jobs, message_checks.of_job),
    )


Check = Callable[[Operation, Signature], Iterator[Complaint]]


def _read(
    operations: Sequence[Operation], pantry: Pantry, wrong: list[Complaint]
) -> Iterator[tuple[Operation, Signature]]:
    """The operations whose signature can be read; what is wrong with these or the others joins *wrong*."""
    for operation in operations:
        wrong += checks.of_operation(operation)
        try:
            signature = read_signature(operation, pantry.types)
        except SetupError as error:
            wrong += error.complaints
            continue
        wrong += checks.of_signature(operation, signature, pantry)
        yield operation, signature


def _learn_recipes(pantry: Pantry, modules: Sequence[Module]) -> Iterator[Complaint]:
    for module in modules:
        for recipe in module.recipes:
            try:
                pantry.add(recipe)
            except SignatureError as error:
                yield Complaint(f"module {module.name}", error.problem, error.remedy)
    yield from pantry.check()
