"""Servey's side of the jobs benchmark: the actions of its worker, and the code that enqueues them."""

import asyncio
import os

from benchmarks.peers.jobs_log import note, paced
from servey import Context, Settings, action, create_app


@action
async def noted(sent: float) -> None:
    note(sent)


@action
async def waited(sent: float) -> None:
    note(sent)
    await asyncio.sleep(0.02)


async def enqueue(name: str, count: int, pause: float) -> tuple[float, float]:
    """Enqueue jobs as an action does; return the median time to enqueue one, in seconds, and the jobs a second."""
    made = {"noted": noted, "waited": waited}[name]
    app = create_app(actions=[noted, waited], settings=Settings(redis_url=os.environ["SERVEY_REDIS_URL"]))
    async with app.runtime.lifespan(), app.runtime.context("benchmark", trusted=True) as context:

        async def one(sent: float, context: Context = context) -> None:
            await context.enqueue(made, {"sent": sent})

        return await paced(one, count, pause)
