"""Faults on purpose: an app in real processes that are killed, frozen and cut off, and a proof of what it kept."""

from toque.testing.faults.campaign import Report, run, run_schedules
from toque.testing.faults.checker import Effect, Finding, Kept, Rules, State, check
from toque.testing.faults.clock import Clock
from toque.testing.faults.history import Line
from toque.testing.faults.proxy import Cut, PostgresProxy, Proxy, proxy_before
from toque.testing.faults.scenario import Call, Scenario
from toque.testing.faults.schedule import AtStep, FromOutside, Schedule, draw
from toque.testing.faults.steps import JOBS, MESSAGES, STORE, WAITS, Step

__all__ = [
    "JOBS",
    "MESSAGES",
    "STORE",
    "WAITS",
    "AtStep",
    "Call",
    "Clock",
    "Cut",
    "Effect",
    "Finding",
    "FromOutside",
    "Kept",
    "Line",
    "PostgresProxy",
    "Proxy",
    "Report",
    "Rules",
    "Scenario",
    "Schedule",
    "State",
    "Step",
    "check",
    "draw",
    "proxy_before",
    "run",
    "run_schedules",
]
