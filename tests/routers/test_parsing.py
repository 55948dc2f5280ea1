"""Parameters are parsed and documented as in FastAPI, compared with FastAPI in the same run."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import pytest
from fastapi import Body, FastAPI, Form, Query, UploadFile
from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.decorator import cache
from openapi_spec_validator import validate
from pydantic import BaseModel, Field, WithJsonSchema

from servey import WEB_GET, WEB_POST, Settings, action, create_app
from servey.testing import client


class Cat(BaseModel):
    kind: Literal["cat"]
    toys: list[str] = []


class Dog(BaseModel):
    kind: Literal["dog"]
    toys: str = ""


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Filter(BaseModel):
    model_config = {"extra": "forbid"}
    limit: int = Field(100, gt=0)
    tags: list[str] = []
    order: Literal["up", "down"]


class Pointer(BaseModel):
    ref: str = Field(default="#/x", alias="$ref")


class Document(BaseModel):
    doc: dict[str, Any] = Field(default={"$ref": "#/components/x"}, examples=[{"$ref": "#/components/x"}])


async def flat(f: Annotated[Filter, Query()]) -> Filter:
    return f


async def shown(ids: Annotated[list[int], Query(), WithJsonSchema({"type": "string"})]) -> list[int]:
    return ids


async def hidden(pet: Annotated[Dog, WithJsonSchema({"type": "string"})]) -> str:
    return pet.toys


async def pet(pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> Any:
    return pet.model_dump()


async def owner(owner: Owner) -> Any:
    return owner.model_dump()


async def body(x: Annotated[int, Body(embed=True)]) -> int:
    return x


async def plain_body(x: int) -> int:
    return x


async def form(file: UploadFile | None = None, note: Annotated[str, Form()] = "none") -> str:
    return note


async def pointer(p: Pointer | None = None) -> Pointer:
    return Pointer()


async def document(d: Document) -> Document:
    return d


def twin(function: Any, method: str = "GET") -> FastAPI:
    api = FastAPI()
    api.add_api_route("/actions/it", function, methods=[method])
    return api


def ours(*functions: Any, method: str = "GET", **settings: Any) -> Any:
    triggers = WEB_GET if method == "GET" else WEB_POST
    names = [each.__name__ for each in functions] if len(functions) > 1 else ["it"]
    made = [action(name=name, triggers=triggers)(each) for name, each in zip(names, functions, strict=True)]
    return create_app(actions=made, settings=Settings(env="dev", **settings))


def ask(app: Any, query: str) -> tuple[int, Any]:
    with client(app) as http:
        answer = http.get(f"/actions/it?{query}")
    found = answer.json()
    if answer.status_code == 422:
        found = [(each["type"], each["loc"]) for each in found["detail"]]
    return answer.status_code, found


@pytest.mark.parametrize(
    "query",
    ["order=up", "limit=5&tags=a&tags=b&order=down", "limit=0&order=up", "", "order=up&other=1", "order=x&tags=a"],
)
def test_a_query_model_is_spread(query):
    assert ask(ours(flat), query) == ask(twin(flat), query)


def test_a_query_model_can_be_given_by_its_name_too():
    assert ask(ours(flat), "f.order=up&f.tags=a")[1] == {"limit": 100, "tags": ["a"], "order": "up"}


def test_a_query_model_is_documented_as_its_fields():
    shown_by = [app.openapi()["paths"]["/actions/it"]["get"]["parameters"] for app in (ours(flat), twin(flat))]
    names = [[(each["name"], each["required"]) for each in parameters] for parameters in shown_by]
    assert names[0] == names[1]


@pytest.mark.parametrize("query", ["ids=1&ids=2", "ids=1", "ids=x"])
def test_what_a_document_shows_does_not_change_what_is_parsed(query):
    assert ask(ours(shown), query) == ask(twin(shown), query)
    assert ask(ours(hidden), "pet.kind=dog&pet.toys=a") == (200, "a")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pet.kind=cat&pet.toys=a&pet.toys=b", {"kind": "cat", "toys": ["a", "b"]}),
        ("pet.kind=cat&pet.toys=a", {"kind": "cat", "toys": ["a"]}),
        ("pet.kind=dog&pet.toys=a", {"kind": "dog", "toys": "a"}),
        ("pet.toys=a&pet.kind=dog", {"kind": "dog", "toys": "a"}),
    ],
)
def test_a_union_of_objects_is_read_by_the_alternative_it_fits(query, expected):
    assert ask(ours(pet), query) == (200, expected)
    assert ask(ours(owner), query.replace("pet.", "owner.pet.")) == (200, {"pet": expected})


def test_a_union_of_objects_is_documented_with_all_alternatives():
    parameters = ours(pet).openapi()["paths"]["/actions/it"]["get"]["parameters"]
    kind = next(each for each in parameters if each["name"] == "pet.kind")
    assert "cat" in json.dumps(kind)
    assert "dog" in json.dumps(kind)


@pytest.mark.parametrize("function", [pointer, document])
def test_a_ref_in_data_is_data(function):
    app = ours(function, method="POST")
    assert app.openapi()["paths"]
    sent = {} if function is pointer else {"d": {"doc": {"$ref": "#/x"}}}
    with client(app) as http:
        assert http.post("/actions/it", json=sent).json() == ({"$ref": "#/x"} if function is pointer else sent["d"])
    assert ours(pointer).openapi()["paths"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_another_unicode_encoding(encoding):
    content = '{"x": 1}'.encode(encoding)
    options: Any = {"content": content, "headers": {"content-type": "application/json"}}
    with client(twin(body, "POST")) as http:
        wanted = http.post("/actions/it", **options)
    with client(ours(plain_body, method="POST")) as http:
        got = http.post("/actions/it", **options)
    assert (got.status_code, got.text) == (wanted.status_code, wanted.text) == (200, "1")


def test_an_optional_form_can_be_left_out():
    for app in (twin(form, "POST"), ours(form, method="POST")):
        with client(app) as http:
            assert http.post("/actions/it").json() == "none"
            assert http.post("/actions/it", data={"note": "n"}).json() == "n"


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "latin-1", "idna", "unknown-8"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"])
def test_a_form_is_utf_8(charset, kind):
    content = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + b"a" * 50_000 + b"\r\n--b--\r\n"
    with client(ours(form, method="POST")) as http:
        answer = http.post("/actions/it", content=content, headers={"content-type": f'{kind}; charset="{charset}"'})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\xff",
        "multipart/form-data;",
    ],
)
def test_a_malformed_form_is_a_client_error(content_type):
    with client(ours(form, method="POST")) as http:
        headers = {b"content-type": content_type.encode("latin-1")}
        assert 400 <= http.post("/actions/it", content=b"note=a", headers=headers).status_code < 500


@cache(expire=60)
async def cached(name: str) -> Cat:
    return Cat(kind="cat", toys=[name])


def test_a_decorator_that_adds_parameters_to_the_signature():
    FastAPICache.init(InMemoryBackend())  # of the whole process; a second init changes nothing
    for app in (twin(cached), ours(cached)):
        with client(app) as http:
            first, second = (http.get("/actions/it?name=a") for _ in range(2))
            assert first.json() == second.json() == {"kind": "cat", "toys": ["a"]}
            assert second.headers["x-fastapi-cache"] == "HIT"
            again = http.get("/actions/it?name=a", headers={"If-None-Match": second.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["x-fastapi-cache"] == "HIT"


async def marked(
    n: Annotated[str | None, Query(openapi_examples={"x": {"value": "y"}}, deprecated=True)] = None,
) -> str | None:
    return n


def test_examples_and_deprecation_of_a_parameter_are_documented():
    for app in (twin(marked), ours(marked)):
        parameter = app.openapi()["paths"]["/actions/it"]["get"]["parameters"][0]
        assert parameter["examples"] == {"x": {"value": "y"}}
        assert parameter["deprecated"] is True


async def login() -> str:
    return ""


async def job() -> str:
    return ""


def test_operation_ids_are_distinct():
    document = ours(login, job).openapi()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


async def pets() -> AsyncIterator[Annotated[Cat | Dog, Field(discriminator="kind")]]:
    yield Cat(kind="cat")


def test_a_stream_is_documented_by_its_item():
    document = ours(pets).openapi()
    validate(document)
    content = document["paths"]["/actions/it"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/event-stream", "application/jsonl"]
    for each in content.values():
        assert [one["properties"]["kind"]["const"] for one in each["schema"]["oneOf"]] == ["cat", "dog"]
        assert each["x-item-schema"] == each["schema"]
        assert "#/" not in json.dumps(each)


def other_cat() -> Any:
    class Cat(BaseModel):
        name: str

    return Cat


Other = other_cat()


async def one() -> Cat:
    return Cat(kind="cat")


async def another() -> Other:
    return Other(name="b")


def test_models_of_one_name_have_different_titles():
    schemas = ours(one, another).openapi()["components"]["schemas"]
    titles = [schema["title"] for name, schema in schemas.items() if "Cat" in name]
    assert len(titles) == len(set(titles)) == 2


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_has_none(status):
    from fastapi import HTTPException, Response

    async def it(raises: bool, response: Response) -> str:
        if raises:
            raise HTTPException(status)
        response.status_code = status
        return "text"

    for query in ("raises=1", "raises=0"):
        answers = []
        for app in (twin(it), ours(it)):
            with client(app) as http:
                answer = http.get(f"/actions/it?{query}")
                answers.append((answer.status_code, answer.content))
        assert answers == [(status, b"")] * 2
