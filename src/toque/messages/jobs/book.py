"""An app's jobs, compiled: from a function to its name and inputs, and from a name to what is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from toque.call.plan import Arguments, Plan
from toque.codecs.json import encode as encode_json
from toque.codecs.refusing import refusing
from toque.contract.access import public
from toque.contract.conversion import dec_hook, keep_hook, kept_hook
from toque.contract.errors import Invalid
from toque.contract.job import GiveUp, JobRules
from toque.contract.limits import Limits
from toque.contract.nodes import holds
from toque.contract.operation import Kind, Operation
from toque.contract.schedule import Schedule
from toque.store.store import Store

__all__ = ["Book", "Compiled"]

DATA_BYTES_MAX = 256 * 1024
"""The largest inputs, as for events: who has more to say enqueues where it is found."""

RESULT_BYTES_MAX = 1024 * 1024
"""The largest result that is kept: whoever asks for a job's status is answered all of it, each time."""

STEPS_MAX = 1000
"""Functions that are kept compiled as steps: far more than an app has, unless it makes them as it goes."""


_keep: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=keep_hook).encode


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """One job."""

    plan: Plan
    rules: JobRules
    is_transaction: bool
    """Whether it is one transaction, and so ends in it."""
    _decode: Callable[[bytes], Any]
    _named: Callable[..., Any]
    """Makes the inputs of values in their order."""
    _models: tuple[tuple[int, str], ...]
    """The inputs with pydantic models, by place: those have a say in what is written of them."""

    @property
    def has_steps(self) -> bool:
        """Whether it takes durable steps."""
        from toque.messages.jobs.steps import Steps

        return any(tp is Steps for _, tp in self.plan.signature.resources)

    @property
    def name(self) -> str:
        return self.plan.operation.name

    @property
    def keep_s(self) -> float:
        """How long its result is kept: not at all where it has none."""
        return 0.0 if self.plan.signature.output is None else self.rules.keep_result_s

    def encode(self, values: Sequence[Any]) -> bytes:
        """*values*, in the order of the job's inputs, as they are kept.

        Raises: TypeError where they are not what the job takes, ValueError where they are too large.
        """
        names = self.plan.named.__struct_fields__
        if len(values) > len(names):
            raise TypeError(f"{self.name} takes {', '.join(names) or 'nothing'}, and got {len(values)} inputs")
        try:
            data = _keep(self._named(*values))
            kept = self._decode(data)
        except (TypeError, Invalid) as error:
            faults = "; ".join(f"{fault.path}: {fault.message}" for fault in getattr(error, "faults", ()))
            raise TypeError(f"{self.name} cannot be enqueued with these inputs: {faults or error}") from error
        for place, name in self._models:
            back = getattr(kept, name)
            if place < len(values) and type(back) is type(values[place]) and back != values[place]:
                raise TypeError(
                    f"{self.name} cannot be enqueued with these inputs: {name} does not come back as it was; "
                    "a job keeps no secrets, and nothing that a model excludes from what it writes"
                )
        if len(data) > DATA_BYTES_MAX:
            raise ValueError(f"a job's inputs have at most {DATA_BYTES_MAX} bytes, and these have {len(data)}")
        return data

    def arguments(self, data: bytes) -> Arguments:
        """The inputs, as they were kept. Raises: Invalid where they fit no more."""
        return msgspec.structs.astuple(self._decode(data))

    def shaped(self, value: Any) -> Any:
        """What the function returned, narrowed to its declared output."""
        return value if self.plan.shape is None else self.plan.shape(value)

    def result(self, value: Any) -> str:
        """What the function returned, as it is kept: its declared output alone.

        Raises: GiveUp where it is too large: it would be so the next time.
        """
        data = encode_json(self.shaped(value))
        if len(data) > RESULT_BYTES_MAX:
            raise GiveUp(
                f"what {self.name} returned has {len(data)} bytes, and at most {RESULT_BYTES_MAX} are kept; "
                "return where it is to be found"
            )
        return data.decode()

    def read_result(self, text: str | None) -> Any:
        """What was kept, of the declared type again."""
        if text is None or self.plan.signature.output is None:
            return None
        return msgspec.json.decode(text, type=self.plan.signature.output, dec_hook=dec_hook)


def _compiled(plan: Plan) -> Compiled:
    rules = plan.operation.job
    assert rules is not None, "a job has rules"
    decode = refusing("JSON", msgspec.json.Decoder(plan.named, dec_hook=kept_hook).decode)
    is_transaction = any(stage.name == "transact" for stage in plan.stages)
    inputs = enumerate(plan.signature.inputs)
    models = tuple((place, found.name) for place, found in inputs if holds(found.type, inspect.CustomType))
    return Compiled(plan, rules, is_transaction, decode, _by_position(plan.named), models)


def _by_position(named: Any) -> Callable[..., Any]:
    names = named.__struct_fields__
    made: Callable[..., Any] = named
    if named.__match_args__ == names:
        return made
    return lambda *values: named(**dict(zip(names, values, strict=False)))


@dataclass(slots=True, eq=False)
class Book:
    """All jobs of an app. It is filled while the app is compiled."""

    by_name: dict[str, Compiled] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    """Those of its queues that have some."""
    compile: Callable[[Operation], Plan] = field(init=False)
    """How the system makes a plan of an operation that it has not seen before."""
    store: Store = field(init=False)
    report: Callable[[str, int, str], None] = field(default=lambda id, fence, progress: None)
    """Takes how far the start *fence* of the job *id* is; set by whoever works."""
    _by_function: dict[Callable[..., Any], Compiled] = field(default_factory=dict)
    _steps: dict[Callable[..., Any], Compiled] = field(default_factory=dict)

    def add(self, plans: Iterable[Plan]) -> None:
        """Learn what *plans* are."""
        for plan in plans:
            self.by_name[plan.operation.name] = self._by_function[plan.operation.function] = _compiled(plan)

    def step(self, function: Callable[..., Any]) -> Compiled:
        """*function* as a durable step. Raises: SetupError where it cannot be one."""
        if function not in self._steps:
            if len(self._steps) >= STEPS_MAX:
                self._steps.clear()
            name = f"step {getattr(function, '__qualname__', 'of a job')}"
            operation = Operation(name, Kind.JOB, function, public, method="POST", job=JobRules(), priority="sheddable")
            self._steps[function] = _compiled(self.compile(operation))
        return self._steps[function]

    def find(self, function: Callable[..., Any]) -> Compiled:
        """The job that *function* is. Raises: TypeError where it is none of this app's."""
        found = self._by_function.get(function)
        if found is not None:
            return found
        name = getattr(function, "__name__", repr(function))
        near = get_close_matches(name, [known.__name__ for known in self._by_function], 1)
        hint = f"did you mean {near[0]}?" if near else "declare it with @app.job(), in a module that the app includes"
        raise TypeError(f"{name} is no job of this app; {hint}")

    def place_of(self, queue: str, key: str) -> tuple[str, str | None]:
        """Where a job with *key* stands in *queue*: its key, where that is for order, and its share of limits."""
        limits = self.limits.get(queue)
        return ("", key) if limits is not None and limits.is_by_key else (key, None)

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Those of its jobs that begin by themselves."""
        found = ((name, job.rules.schedule) for name, job in self.by_name.items())
        return {name: schedule for name, schedule in found if schedule is not None}

    @property
    def names(self) -> dict[str, list[str]]:
        """Those of its jobs, by the queue that they are in."""
        found: dict[str, list[str]] = {}
        for name, job in self.by_name.items():
            found.setdefault(job.rules.queue, []).append(name)
        return found
