"""From a declared app and its settings to one that runs: everything is decided here, once, before the first call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toque.call import logs
from toque.call.access import authenticate, authorise
from toque.call.admission import Gate
from toque.call.context import Context
from toque.call.observation import Figures, observed
from toque.call.plan import Arguments, Handler, Plan, Stage, compile_plan
from toque.call.receive import receive
from toque.call.resources import Pantry
from toque.call.threads import Threads
from toque.contract import views
from toque.contract.complaints import Complaint, SetupError
from toque.contract.module import Module
from toque.contract.operation import Kind, Operation
from toque.contract.principal import Principal
from toque.contract.signature import Place, Signature, SignatureError, read_signature
from toque.security.credentials import Verifier
from toque.settings import Settings, problems
from toque.store.database import Database

if TYPE_CHECKING:
    from toque.store.store import Store

__all__ = ["System", "compile_system"]


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """The parts of one app, compiled. It holds no connection and no thread until it is used."""

    settings: Settings
    plans: dict[str, Plan]
    figures: dict[str, Figures]
    gate: Gate
    threads: Threads
    pantry: Pantry
    store: Store | None
    seeds: tuple[Plan, ...] = ()

    async def start(self) -> None:
        """Make ready what calls need; the rest is made at its first use."""
        if self.store is not None:
            await self.store.start()

    async def stop(self) -> None:
        """End everything that was begun, the last first."""
        self.threads.close()
        await self.pantry.close()
        if self.store is not None:
            await self.store.stop()


def compile_system(modules: Sequence[Module], settings: Settings, database_url: str) -> System:
    """Compile every operation of *modules*.

    Raises: SetupError with all that is wrong, each with its remedy.
    """
    complaints = [*problems(settings), *_duplicates(modules)]
    pantry = Pantry({Database: lambda context: context.database})
    complaints += _learn_recipes(pantry, modules)
    gate = Gate(settings.calls.in_flight_max)
    threads = Threads(settings.calls.threads_max, settings.calls.thread_queue_max)
    signatures: list[tuple[Operation, Signature]] = []
    for operation in (operation for module in modules for operation in [*module.operations, *module.seeds]):
        try:
            signatures.append((operation, read_signature(operation, pantry.types)))
        except SignatureError as error:
            complaints.append(Complaint(operation.name, str(error), f"see {operation.where}"))
        complaints += _complaints_about(operation)
    complaints += [
        complaint for operation, signature in signatures for complaint in _unsuitable(operation, signature, pantry)
    ]
    verifier = Verifier(settings)
    if any(operation.allow is not None and operation.allow.needs_principal for operation, _ in signatures):
        complaints += verifier.check()
    if complaints:
        raise SetupError(complaints)
    needs_store = any(_needs(pantry, signature, Database) for _, signature in signatures)
    store = _open_store(settings, database_url) if needs_store else None
    workshop = _Workshop(settings, pantry, threads, gate, store, verifier)
    plans = {operation.name: workshop.plan(operation, signature) for operation, signature in signatures}
    seeds = tuple(plans.pop(seed.name) for module in modules for seed in module.seeds)
    return System(settings, plans, workshop.figures, gate, threads, pantry, store, seeds)


class _Workshop:
    """Compiles plans with the parts that all of them share."""

    def __init__(
        self,
        settings: Settings,
        pantry: Pantry,
        threads: Threads,
        gate: Gate,
        store: Store | None,
        verifier: Verifier,
    ) -> None:
        self._settings = settings
        self._pantry = pantry
        self._threads = threads
        self._gate = gate
        self._store = store
        self._verify = verifier.verify
        self.figures: dict[str, Figures] = {}

    def plan(self, operation: Operation, signature: Signature) -> Plan:
        stages = list(self._stages(operation, signature))
        return compile_plan(
            operation,
            signature,
            stages,
            self._pantry,
            self._threads,
            shape=None if signature.is_stream or signature.output is None else views.shaper(signature.output),
            deadline_s=operation.deadline_s or self._settings.calls.deadline_s,
            reads_credential=any(stage.name == "authenticate" for stage in stages),
        )

    def _stages(self, operation: Operation, signature: Signature) -> Iterator[Stage]:
        figures = self.figures[operation.name] = Figures(operation.name, operation.kind.value)
        report, report_above_s = logs.reporter(self._settings.log.calls, self._settings.log.slow_ms)
        yield Stage(
            "observe",
            "every call is counted",
            lambda call: observed(call, figures, report, report_above_s=report_above_s),
        )
        if self._settings.observe.traces:
            yield Stage("trace", "observe.traces", self._traced(operation))
        yield Stage("admit", "every call has a deadline", self._gate.stage)
        access = operation.allow
        assert access is not None, "an operation without an access rule is refused before"
        asks_who = [tp for tp in (Principal, Context) if _needs(self._pantry, signature, tp)]
        if access.needs_principal or asks_who:
            why = f"allow={access.words}" if access.needs_principal else f"it asks for {asks_who[0].__name__}"
            yield Stage("authenticate", why, lambda call: authenticate(call, self._verify))
        if access.needs_principal:
            names = tuple(found.name for found in signature.inputs)
            yield Stage("authorise", f"allow={access.words}", lambda call: authorise(call, access, names))
        if signature.places(Place.BODY, Place.MEMBER, Place.UPLOAD):
            name = "receive for the rule" if access.reads else "receive"
            yield Stage(name, "it takes a body", receive)
        if self._store is not None and _needs(self._pantry, signature, Database):
            why = "one snapshot" if operation.kind is Kind.QUERY else "one transaction"
            yield Stage("transact", f"it asks for Database: {why}", transact(self._store, operation, signature))

    def _traced(self, operation: Operation) -> Callable[[Handler], Handler]:
        from toque.call.spans import traced

        return lambda call: traced(call, operation.name, operation.kind.value)


def transact(store: Store, operation: Operation, signature: Signature) -> Callable[[Handler], Handler]:
    """A call of *operation* within one snapshot (a query) or one transaction (a command) of *store*."""

    def wrap(call: Handler) -> Handler:
        async def transacted(context: Context, arguments: Arguments) -> Any:
            def run(database: Database) -> Any:
                context.database = database
                return call(context, arguments)

            if operation.kind is Kind.COMMAND:
                return await store.command(run)
            return await store.query(run, key=operation.name)

        return transacted

    return wrap


def _needs(pantry: Pantry, signature: Signature, tp: type) -> bool:
    """Whether the function, or anything made for it, asks for *tp*."""
    return tp in pantry.closure(wanted for _, wanted in signature.resources)


def _open_store(settings: Settings, url: str) -> Store:
    from toque.store import open_store

    observer = None
    if settings.observe.traces:
        from toque.call.spans import statement_observer

        observer = statement_observer("sqlite" if url.startswith("sqlite") else "postgresql")
    database = settings.database
    return open_store(url, slots=database.pool_size, waiting_max=database.waiting_max, observer=observer)


def _learn_recipes(pantry: Pantry, modules: Sequence[Module]) -> list[Complaint]:
    complaints = []
    for module in modules:
        for recipe in module.recipes:
            try:
                pantry.add(recipe)
            except SignatureError as error:
                complaints.append(Complaint(f"module {module.name}", str(error)))
    return complaints + [Complaint("resources", problem) for problem in pantry.check()]


def _duplicates(modules: Sequence[Module]) -> Iterator[Complaint]:
    operations = [operation for module in modules for operation in module.operations]
    for name, count in Counter(operation.name for operation in operations).items():
        if count > 1:
            yield Complaint(name, f"{count} operations have this name", "give all but one another, with name=")
    places = Counter((operation.method, _shape_of(operation.path)) for operation in operations if operation.path)
    for (method, path), count in places.items():
        if count > 1:
            names = ", ".join(o.name for o in operations if o.path and (o.method, _shape_of(o.path)) == (method, path))
            yield Complaint(f"{method} {path}", f"{names} share this path", "give each a path of its own")


def _shape_of(path: str) -> str:
    """Templates that differ only in their parameters' names are the same path."""
    return "/".join("{}" if segment.startswith("{") else segment for segment in path.split("/"))


def _complaints_about(operation: Operation) -> Iterator[Complaint]:
    if operation.allow is None:
        yield Complaint(
            operation.name,
            f"nobody said who may call it ({operation.where})",
            "add allow=public, authenticated, role(...), scope(...) or predicate(...)",
        )
    if operation.path is not None:
        for segment in operation.path.split("/"):
            if "{" in segment and not (segment.startswith("{") and segment.endswith("}") and segment[1:-1].isidentifier()):
                yield Complaint(operation.name, f"path segment {segment!r} is not {{name}}", "use whole segments")


def _unsuitable(operation: Operation, signature: Signature, pantry: Pantry) -> Iterator[Complaint]:
    names = {found.name for found in signature.inputs}
    if operation.allow is not None and (unknown := operation.allow.reads - names):
        yield Complaint(
            operation.name,
            f"its access rule reads {', '.join(sorted(unknown))}, which is no input",
            f"inputs are: {', '.join(sorted(names)) or 'none'}",
        )
    if not signature.is_async and _needs(pantry, signature, Database):
        yield Complaint(operation.name, "a plain `def` cannot wait for Database", "make it `async def`")
    if signature.output is bytes and operation.media_type is None:
        yield Complaint(operation.name, "it answers bytes of no stated kind", 'add media_type="application/pdf" or the like')
