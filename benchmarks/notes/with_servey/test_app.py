from app import counted, servey_app

from servey.testing import client, published, set_clock


def test_a_note_is_added_and_counted() -> None:
    with client(servey_app) as http, published(servey_app, counted) as events, set_clock(servey_app) as clock:
        assert http.post("/notes", json={"text": ""}).status_code == 422
        added = http.post("/notes", json={"text": "three little words"})
        assert added.status_code == 201
        clock.advance()  # runs the job
    assert [(event.id, event.words) for event in events] == [(added.json()["id"], 3)]
