"""A job that ends the process it runs in, each time that it is begun."""

import os

from toque import App, Jobs, public

app = App("crashing")


@app.job()
async def crash() -> None:
    os._exit(7)


@app.command("/crash", allow=public)
async def enqueue(jobs: Jobs) -> None:
    jobs.enqueue(crash)
