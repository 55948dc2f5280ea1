"""Jobs over a real Redis, by real worker processes: stopped, ended; Redis restarted."""

import json
import signal
import sys

from servey import Authorization, Settings, create_app
from servey.core.queues import Retry
from tests.jobs.conftest import NAMESPACE, PREFIX, client, worker
from tests.jobs.redis.project import enqueue, state
from tests.serving import run, wait_until


def test_a_web_process_enqueues_and_a_worker_works(folder, notes, redis_of_jobs, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "actions", raising=False)  # of another test
    from servey.testing import client as http_client
    from servey.testing import token_for

    secret = "a-secret-of-more-than-32-bytes-for-tests"
    made = create_app(settings=Settings(redis_url=redis_of_jobs.url, jwt_secret_key=secret, namespace=NAMESPACE))
    headers = {"Authorization": f"Bearer {token_for(made, Authorization('ada'))}", "X-Request-ID": "of-the-request"}
    with http_client(made) as http:
        answer = http.post("/actions/quick", json={"n": 21}, headers={**headers, "Prefer": "respond-async"})
        assert answer.status_code == 202
        path = answer.headers["location"]
        assert http.get(path, headers=headers).json()["state"] == "queued"
        with worker(folder, redis_of_jobs.url, JWT_SECRET_KEY=secret):
            wait_until(lambda: http.get(path, headers=headers).json()["state"] == "done", "the end of the job")
        assert http.get(path, headers=headers).json()["result"] == 42
        assert http.get(path).status_code == 404
    [(_, _, _, subject, request_id)] = notes.read()
    assert (subject, request_id) == ("ada", "of-the-request")


def test_payloads_are_json(folder, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "quick", {"n": 1})
    with client(redis_of_jobs.url) as redis:
        assert json.loads(redis.hget(f"{PREFIX}job:{job_id}", "params")) == {"n": 1}
        assert json.loads(redis.hget(f"{PREFIX}job:{job_id}", "job"))["action"] == "quick"
        for key in redis.scan_iter():
            if redis.type(key) == b"string":
                assert not redis.get(key).startswith(b"\x80"), key  # what pickle begins with


def test_what_fails_ends_dead_and_the_command_line_drives_it(folder, notes, redis_of_jobs):
    env = {"SERVEY_REDIS_URL": redis_of_jobs.url, "SERVEY_NAMESPACE": NAMESPACE}
    job_id = enqueue(redis_of_jobs.url, "fails", {}, retry=Retry(max_tries=2, backoff=0.05))
    waiting = json.loads(run("-m", "servey", "jobs", "--json", cwd=folder, **env).stdout)
    assert [(each["id"], each["state"]) for each in waiting] == [(job_id, "queued")]
    with worker(folder, redis_of_jobs.url):
        wait_until(lambda: state(redis_of_jobs.url, job_id).state == "dead", "the end of the job")
        listed = run("-m", "servey", "jobs", "dead", cwd=folder, **env).stdout
        assert job_id in listed
        assert "Internal Server Error" in listed
        assert "secret text" not in listed
        assert run("-m", "servey", "jobs", "retry", job_id, cwd=folder, **env).stdout == "1 jobs retried\n"
        notes.until(lambda found: len(found) == 4)
        wait_until(lambda: state(redis_of_jobs.url, job_id).state == "dead", "its second end")
    assert run("-m", "servey", "jobs", "drop", "--all", cwd=folder, **env).stdout == "1 jobs dropped\n"
    again = run("-m", "servey", "jobs", "retry", job_id, cwd=folder, **env)
    assert again.returncode == 1
    assert f"no such job, so not retried: {job_id}" in again.stderr


def test_asked_to_end_a_worker_finishes_what_runs(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 1})
    with worker(folder, redis_of_jobs.url) as process:
        notes.until(lambda found: len(found) == 1)
        process.terminate()
        assert process.wait(15) == 0
    assert state(redis_of_jobs.url, job_id).state == "done"


def test_collections_leave_out_what_the_start_has_made(folder, notes, redis_of_jobs):
    enqueue(redis_of_jobs.url, "frozen", {})
    with worker(folder, redis_of_jobs.url):
        [[count]] = notes.until(lambda found: len(found) == 1)
    assert count > 10_000


def test_what_does_not_end_in_time_is_given_back(folder, notes, redis_of_jobs):
    job_id = enqueue(redis_of_jobs.url, "long", {"n": 1, "seconds": 60})
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_GRACE="0.2") as process:
        notes.until(lambda found: len(found) == 1)
        process.terminate()
        assert process.wait(15) == 0
    given_back = state(redis_of_jobs.url, job_id)
    assert (given_back.state, given_back.tries) == ("queued", 0)
    with worker(folder, redis_of_jobs.url, SERVEY_JOB_GRACE="0.2"):
        notes.until(lambda found: len(found) == 2)


def test_a_worker_waits_for_redis_and_outlives_its_restart(folder, notes, redis_of_jobs):
    redis_of_jobs.stop()
    with worker(folder, redis_of_jobs.url) as process:
        redis_of_jobs.start()
        enqueue(redis_of_jobs.url, "quick", {"n": 1})
        notes.until(lambda found: len(found) == 1)
        redis_of_jobs.restart(signal.SIGKILL)
        enqueue(redis_of_jobs.url, "quick", {"n": 2})
        notes.until(lambda found: len(found) == 2)
        assert process.poll() is None


def test_a_worker_without_redis_says_what_to_set(folder):
    done = run("-m", "servey", "worker", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "set SERVEY_REDIS_URL" in done.stderr
