"""The console of a large app: 500 actions, 100,000 jobs in Redis."""

import asyncio
import time

import pytest

from servey import WEB_POST, Servey, Settings, action, create_app
from servey.core.queues import Job
from servey.testing import client
from tests.console.app import SECRET
from tests.serving import redis_server

ACTIONS, JOBS = 500, 100_000
BUDGET_SECONDS = 0.2
PAGES = ("", "/actions/act7", "/calls", "/jobs", "/jobs?state=queued&q=act7", "/schedules", "/cache", "/settings")


def made(number: int):
    @action(name=f"act{number}", triggers=WEB_POST)
    async def act(parcel: int, note: str = "") -> int:
        """Deliver a parcel."""
        return parcel

    return act


async def fill(app: Servey) -> None:
    queue = app.runtime.queue
    for start in range(0, JOBS, 200):
        jobs = (
            Job(f"job-{number}", f"act{number % ACTIONS}", {"parcel": number}, enqueued_at=time.time())
            for number in range(start, start + 200)
        )
        await asyncio.gather(*(queue.enqueue(job) for job in jobs))
    assert (await queue.depth()).queued == JOBS


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_each_view_of_a_large_app_is_quick():
    with redis_server() as server:
        # In production workers run jobs, and here there is none, so all of them wait.
        settings = Settings(
            env="prod", console=True, redis_url=server.url, jwt_secret_key=SECRET, login_password="open sesame"
        )
        app = create_app(actions=[made(number) for number in range(ACTIONS)], settings=settings)
        with client(app) as http:
            http.portal.call(fill, app)
            token = http.post("/login", data={"username": "root", "password": "open sesame"}).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
            spent = {}
            for page in PAGES:
                taken = []
                for _ in range(4):
                    begun = time.process_time()
                    answer = http.get(f"/_servey{page}", headers=headers)
                    taken.append(time.process_time() - begun)
                    assert answer.status_code == 200
                spent[page] = (round(min(taken[1:]), 3), len(answer.content))
            print(spent)
            assert {page: each for page, each in spent.items() if each[0] > BUDGET_SECONDS} == {}
