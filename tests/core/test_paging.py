"""`Page[T]` on every transport, its cursors, and pages of SQLAlchemy queries."""

import asyncio
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import pytest
from fastapi import Depends
from pydantic import Field
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    BatchInvoker,
    ConfigError,
    Cursor,
    Page,
    Settings,
    TtlCacheControl,
    WebTrigger,
    action,
    create_app,
)
from servey.keyset import select_page, select_page_sync
from servey.testing import async_client, client, every_item

SECRET = "0123456789abcdef" * 2
SETTINGS = Settings(jwt_secret_key=SECRET)
WORDS = [f"word {number}" for number in range(5)]


@dataclass
class Word:
    text: str

    @action
    def length(self) -> int:
        return len(self.text)


def page_of(after: Cursor | None, first: int) -> Page[str]:
    values = () if after is None else after.values
    begin = int(values[0]) if values else 0
    end = begin + first
    return Page(items=WORDS[begin:end], next=Cursor(end) if end < len(WORDS) else None)


@action(triggers=WEB_GET)
def list_words(after: Cursor | None = None, first: Annotated[int, Field(ge=1, le=100)] = 2, by: str = "") -> Page[Word]:
    return page_of(after, first).map(Word)


@action(triggers=WEB_GET)
def other_words(after: Cursor | None = None) -> Page[str]:
    return page_of(after, 2)


@action(triggers=WEB_POST)
def find_words(start: Cursor | None = None) -> Page[str]:
    return page_of(start, 2)


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def cached_words(after: Cursor | None = None) -> Page[str]:
    return page_of(after, 2)


@pytest.fixture(scope="module")
def http():
    with client(create_app(actions=[list_words, other_words, find_words, cached_words], settings=SETTINGS)) as http:
        yield http


def test_a_page_links_to_the_next_one_with_the_same_query(http):
    answer = http.get("/actions/list-words?by=a%20b&first=2")
    assert [each["text"] for each in answer.json()["items"]] == WORDS[:2]
    link = answer.links["next"]
    assert link == {"url": f"?by=a+b&first=2&after={answer.json()['next']}", "rel": "next"}
    second = http.get(answer.url.join(link["url"]))
    assert [each["text"] for each in second.json()["items"]] == WORDS[2:4]
    last = http.get(second.url.join(second.links["next"]["url"]))
    assert (last.json(), last.links) == ({"items": [{"text": WORDS[4]}], "next": None}, {})
    assert http.head("/actions/list-words").headers["link"].startswith("<?after=")


def test_a_page_in_the_body_of_a_request_has_no_link(http):
    answer = http.post("/actions/find-words", json={})
    assert answer.links == {}
    cursor = answer.json()["next"]
    assert http.post("/actions/find-words", json={"start": cursor}).json()["items"] == WORDS[2:4]
    refused = http.post("/actions/find-words", json={"start": "forged"})
    assert refused.json()["detail"][0]["loc"] == ["body", "start"]


@pytest.mark.parametrize("cursor", ["x", "ä", "", "a" * 3000, urlsafe_b64encode(b"0" * 16 + b"[1]").decode()])
def test_a_forged_cursor_is_invalid(http, cursor):
    answer = http.get("/actions/list-words", params={"after": cursor})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "after"]


def test_a_cursor_of_another_action_or_app_is_invalid(http):
    cursor = http.get("/actions/other-words").json()["next"]
    assert http.get("/actions/other-words", params={"after": cursor}).json()["items"] == WORDS[2:4]
    assert http.get("/actions/list-words", params={"after": cursor}).status_code == 422
    settings = Settings(jwt_secret_key=SECRET, cursor_key="another secret of this app")
    with client(create_app(actions=[other_words], settings=settings)) as other:
        assert other.get("/actions/other-words", params={"after": cursor}).status_code == 422
        # The key of the cursors is not that of the tokens.
        assert other.get("/actions/other-words").json()["next"] != cursor


def test_a_cached_page_is_the_same(http):
    fresh = http.get("/actions/cached-words")
    assert http.get("/actions/cached-words").text == fresh.text
    found = http.get(fresh.url.join(fresh.links["next"]["url"]))
    assert found.json()["items"] == WORDS[2:4]


CONNECTION = """
query($after: String) {
  listWords(after: $after) { edges { node { text length } cursor } pageInfo { hasNextPage hasPreviousPage endCursor } }
}
"""


def test_a_page_is_a_relay_connection_in_graphql(http):
    def ask(after):
        answer = http.post("/graphql", json={"query": CONNECTION, "variables": {"after": after}}).json()
        assert "errors" not in answer, answer
        return answer["data"]["listWords"]

    first = ask(None)
    end = first["pageInfo"]["endCursor"]
    assert first["edges"] == [
        {"node": {"text": WORDS[0], "length": 6}, "cursor": None},
        {"node": {"text": WORDS[1], "length": 6}, "cursor": end},
    ]
    last = ask(ask(end)["pageInfo"]["endCursor"])
    assert last["edges"] == [{"node": {"text": WORDS[4], "length": 6}, "cursor": None}]
    assert last["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": False, "endCursor": None}
    refused = http.post("/graphql", json={"query": CONNECTION, "variables": {"after": "forged"}}).json()
    assert refused["errors"][0]["extensions"]["code"] == "invalid_params"


def test_the_openapi_document_describes_cursors_as_text(http):
    document = create_app(actions=[list_words], settings=SETTINGS).openapi()
    operation = document["paths"]["/actions/list-words"]["get"]
    after = next(each for each in operation["parameters"] if each["name"] == "after")
    assert after["schema"]["anyOf"][0]["type"] == "string"
    assert "Link" in operation["responses"]["200"]["headers"]


def test_the_testing_client_reads_all_pages():
    app = create_app(actions=[list_words], settings=SETTINGS)

    async def read():
        async with async_client(app) as http:
            return [item["text"] async for item in every_item(http, "/actions/list-words", first=2)]

    assert asyncio.run(read()) == WORDS


def test_wrong_declarations_stop_the_start():
    @action(triggers=WEB_GET)
    def no_cursor() -> Page[str]: ...

    @action(triggers=WEB_GET)
    def no_page(after: Cursor | None = None) -> list[str]: ...

    @action(triggers=WEB_GET, batch_invoker=BatchInvoker(lambda keys: keys))
    def batched(after: Cursor | None = None) -> Page[str]: ...

    with pytest.raises(ConfigError) as raised:
        create_app(actions=[no_cursor, no_page, batched])
    problems = str(raised.value).splitlines()
    for problem, text in zip(
        problems, ("give it one parameter", "returns no Page", "nor a batch_invoker can"), strict=True
    ):
        assert text in problem


def test_production_refuses_pages_without_a_key():
    app = create_app(actions=[list_words], settings=Settings())
    with pytest.raises(ConfigError, match="SERVEY_CURSOR_KEY"), client(app):
        pass
    with client(create_app(actions=[list_words], settings=Settings(env="dev"))) as http:
        cursor = http.get("/actions/list-words").json()["next"]
        assert http.get("/actions/list-words", params={"after": cursor}).status_code == 200


def test_a_function_can_be_called_without_an_app():
    page = list_words()
    assert page.next == Cursor(2)
    assert list_words(after=page.next).items[0] == Word(WORDS[2])


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    written_at: Mapped[datetime]
    text: Mapped[str]


ROWS = [(number, datetime(2026, 1, 1) + timedelta(days=number // 3), f"note {number}") for number in range(10)]
LATEST = (Note.written_at.desc(), Note.id)


def test_pages_of_a_query_go_on_where_the_last_one_ended(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/notes.db"
    engine = create_async_engine(url)

    async def open_session():
        async with async_sessionmaker(engine)() as session:
            yield session

    @action(triggers=WebTrigger("GET", "/notes"))
    async def notes(
        session: Annotated[AsyncSession, Depends(open_session)], after: Cursor | None = None, first: int = 4
    ) -> Page[str]:
        page = await select_page(session, select(Note), order_by=LATEST, after=after, first=first)
        return page.map(lambda note: note.text)

    async def run():
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            rows = [dict(zip(("id", "written_at", "text"), row, strict=True)) for row in ROWS]
            await connection.execute(Note.__table__.insert(), rows)
        async with async_client(create_app(actions=[notes], settings=SETTINGS)) as http:
            found = [item async for item in every_item(http, "/notes", first=4)]
            first = (await http.get("/notes")).json()
            async with engine.begin() as connection:
                await connection.execute(
                    Note.__table__.insert(), {"id": 99, "written_at": datetime(2027, 1, 1), "text": "new"}
                )
            second = (await http.get("/notes", params={"after": first["next"]})).json()
        await engine.dispose()
        return found, first, second

    found, first, second = asyncio.run(run())
    expected = [text for _, _, text in sorted(ROWS, key=lambda row: (-row[1].toordinal(), row[0]))]
    assert found == expected
    assert first["items"] + second["items"] == expected[:8]


def test_a_session_that_is_not_async_has_pages_too():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Note(id=id, written_at=at, text=text) for id, at, text in ROWS)
        session.flush()
        seen, after = [], None
        while True:
            page = select_page_sync(session, select(Note.id), order_by=(Note.id.desc(),), after=after, first=3)
            seen += page.items
            after = page.next
            if after is None:
                break
        for other in (Cursor("note 1"), Cursor(1, 2)):
            with pytest.raises(ActionError, match="in another order"):
                select_page_sync(session, select(Note.id), order_by=(Note.id,), after=other, first=3)
    engine.dispose()
    assert seen == list(range(9, -1, -1))
