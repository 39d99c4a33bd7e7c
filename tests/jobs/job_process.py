"""A process that works on jobs until it is told to stop: `python job_process.py URL`. It says `ready` once it does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from sqlalchemy import text

from toque import AllRows, App, Delivery, Event, Jobs, Outbox, Retries, public
from toque.settings import Database, Messages, Secret, Settings

app = App("plant")


class Blast(Event):
    number: int


app.queue("narrow", at_once=1)


@app.job()
async def write(name: str, db: AllRows, delivery: Delivery) -> None:
    await db.execute(
        text("INSERT INTO done (name, attempt) VALUES (:name, :attempt)"), {"name": name, "attempt": delivery.attempt}
    )


@app.job()
async def write_slowly(name: str, seconds: float, db: AllRows, delivery: Delivery) -> None:
    await db.execute(
        text("INSERT INTO done (name, attempt) VALUES (:name, :attempt)"), {"name": name, "attempt": delivery.attempt}
    )
    await asyncio.sleep(seconds)


@app.job()
async def write_late(name: str, seconds: float, db: AllRows, delivery: Delivery) -> None:
    await asyncio.sleep(seconds)
    await write(name, db, delivery)


@app.job()
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.job()
async def fork(name: str, seconds: float, db: AllRows, delivery: Delivery) -> None:
    await write(name, db, delivery)
    if delivery.attempt == 1:
        # As `multiprocessing` does it on Linux up to Python 3.13: without a new program.
        if os.fork() == 0:
            time.sleep(seconds)
            os._exit(0)
        await asyncio.sleep(seconds)


@app.job(queue="narrow")
async def hold(name: str, seconds: float, db: AllRows, delivery: Delivery) -> None:
    if delivery.attempt == 1:
        await asyncio.sleep(seconds)
    await write(name, db, delivery)


@app.job()
async def die(delivery: Delivery) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.job(retries=Retries(attempts_max=2, first_s=0.01), deadline_s=0.5)
async def swallow(name: str, db: AllRows) -> None:
    await db.execute(text("INSERT INTO done (name, attempt) VALUES (:name, 0)"), {"name": name})
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue


@app.on(Blast)
async def burst(event: Blast) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.command(allow=public)
async def blast(outbox: Outbox) -> None:
    outbox.publish(Blast(1))


@app.command(allow=public)
async def ask(job: str, inputs: list[str | float], jobs: Jobs, times: int = 1, key: str = "") -> list[str]:
    function = {f.__name__: f for f in (write, write_slowly, write_late, wait, hold, fork, die, swallow)}[job]
    return [str(jobs.enqueue(function, *inputs, key=key)) for _ in range(times)]


def settings(url: str, *, works: bool = True) -> Settings:
    return Settings(database=Database(url=Secret(url)), messages=Messages(work=works))


async def main(url: str) -> None:
    serving = app.serve(settings(url))
    await serving.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print("ready", flush=True)
    await stopped.wait()
    await serving.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
