"""Uploaded files: what an action reads is what FastAPI's own route reads, in memory or on disk."""

import random
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Form, UploadFile
from fastapi.testclient import TestClient
from starlette.formparsers import MultiPartParser

from servey import WEB_POST, Settings, action, create_app
from servey.testing import client

MEGABYTE = 1 << 20
LATER: list[bytes] = []


async def facts_of(note: str, files: list[UploadFile]) -> dict[str, Any]:
    found = []
    for file in files:
        whole = await file.read()
        await file.write(b"more")
        await file.seek(max(0, len(whole) - 2))
        end = await file.read()
        await file.seek(0)
        again = await file.read(7)
        found.append([file.filename, file.content_type, file.size, len(whole), hash(whole), end.hex(), again.hex()])
        found[-1] += [type(file).__name__, type(file.file).__name__, file.file._rolled]  # type: ignore[attr-defined]
    return {"note": note, "files": found}


@action(triggers=WEB_POST)
async def upload(note: Annotated[str, Form()], files: list[UploadFile]) -> dict[str, Any]:
    return await facts_of(note, files)


@action(triggers=WEB_POST)
async def upload_twice_read(file: UploadFile) -> bool:
    whole = await file.read()
    await file.seek(0)
    return await file.read() is whole


twin = FastAPI()


@twin.post("/actions/upload")
async def twin_of_upload(note: Annotated[str, Form()], files: list[UploadFile]) -> dict[str, Any]:
    return await facts_of(note, files)


@twin.post("/actions/upload-for-later")
async def upload_for_later(file: UploadFile, tasks: BackgroundTasks) -> None:
    async def later() -> None:
        LATER.append(await file.read())

    tasks.add_task(later)


async def resource() -> AsyncIterator[str]:
    yield "resource"
    LATER.append(b"closed")


@twin.post("/actions/upload-under-a-resource")
async def upload_under_a_resource(
    file: UploadFile, tasks: BackgroundTasks, held: Annotated[str, Depends(resource)]
) -> None:
    await upload_for_later(file, tasks)


@pytest.fixture(scope="module")
def pair():
    settings = Settings(env="dev", max_body_bytes=20 * MEGABYTE)
    late = [action(triggers=WEB_POST)(each) for each in (upload_for_later, upload_under_a_resource)]
    app = create_app(actions=[upload, upload_twice_read, *late], settings=settings)
    with client(app) as ours, TestClient(twin) as fastapis:
        yield ours, fastapis


def content_of(size: int) -> bytes:
    content = bytearray(random.Random(size).randbytes(size))
    content[: size // 3] = b"\r\n--limi" * (size // 24 + 1)
    return bytes(content[:size])


def form_of(*sizes: int) -> bytes:
    parts = [b'--limit\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n']
    for number, size in enumerate(sizes):
        parts.append(
            b'--limit\r\nContent-Disposition: form-data; name="files"; filename="%d.bin"\r\n'
            b"Content-Type: application/x-own\r\n\r\n%s\r\n" % (number, content_of(size))
        )
    return b"".join([*parts, b"--limit--\r\n"])


FORM = {"Content-Type": "multipart/form-data; boundary=limit"}


@pytest.mark.parametrize(
    "sizes",
    [[0], [1], [2, 0, 3], [MEGABYTE - 1], [MEGABYTE], [MEGABYTE + 1], [5, 3 * MEGABYTE, MEGABYTE], [70_000] * 3],
)
def test_an_action_reads_what_fastapi_reads(pair, sizes):
    ours, fastapis = pair
    answers = [each.post("/actions/upload", content=form_of(*sizes), headers=FORM) for each in (ours, fastapis)]
    assert answers[0].status_code == 200
    assert answers[0].json() == answers[1].json()
    assert [each[3] for each in answers[0].json()["files"]] == sizes


@pytest.mark.parametrize("cut", [10, 60, 150])
def test_a_malformed_form_is_an_error(pair, cut):
    answer = pair[0].post("/actions/upload", content=form_of(20)[:cut], headers=FORM)
    assert answer.status_code == 422


def test_a_file_in_memory_is_not_copied(pair):
    body = form_of(500_000).replace(b'"files"', b'"file"')
    assert pair[0].post("/actions/upload-twice-read", content=body, headers=FORM).json() is True


@pytest.mark.parametrize(("name", "closed"), [("upload-for-later", []), ("upload-under-a-resource", [b"closed"])])
def test_background_tasks_read_an_uploaded_file(pair, name, closed):
    for each in pair:
        LATER.clear()
        answer = each.post(f"/actions/{name}", files={"file": b"content"})
        assert (answer.status_code, LATER) == (200, [b"content", *closed])


def test_a_limit_of_memory_that_was_changed_counts(pair, monkeypatch):
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 1000)
    answers = [each.post("/actions/upload", content=form_of(1000, 1001), headers=FORM).json() for each in pair]
    assert answers[0] == answers[1]
    assert [each[-1] for each in answers[0]["files"]] == [True, True]  # four bytes more were written


def test_a_parser_that_was_replaced_is_used(pair, monkeypatch):
    seen = []
    own = MultiPartParser.on_part_data

    def on_part_data(parser, data, start, end):
        seen.append(end - start)
        own(parser, data, start, end)

    monkeypatch.setattr(MultiPartParser, "on_part_data", on_part_data)
    assert pair[0].post("/actions/upload", content=form_of(30), headers=FORM).status_code == 200
    assert 30 in seen
