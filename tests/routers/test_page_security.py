"""Whatever a visitor sends to a page stays what it is: text, not markup, not a header, not a file, not another site."""

import os
from dataclasses import dataclass

import pytest

from servey import Redirect, ScopeAccessControl, Settings, WebPageResponse, WebPageTrigger, action, create_app
from servey.testing import client

XSS = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "{{ 7 * 7 }}", "{% raw %}", "</title><svg/onload=alert(1)>"]  # fmt: skip
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
SUFFIXES = [".j2", ".html.j2", ".html", ".txt", ".xml.j2", ".js"]


def _echo(suffix: str):
    name = f"echo_{suffix.strip('.').replace('.', '_')}"

    @action(name=name, triggers=WebPageTrigger(path=f"/{name}", template_name=f"echo{suffix}"))
    async def echo(text: str) -> str:
        return text

    return echo


@action(triggers=WebPageTrigger(template_name="echo.j2"))
async def go(to: str) -> Redirect:
    return Redirect(to, 303)


@action(triggers=WebPageTrigger(template_name="echo.j2"))
async def dress(value: str, name: str = "X-Mine") -> WebPageResponse:
    return WebPageResponse("x", 200, {name: value})


@action(triggers=WebPageTrigger(template_name="echo.j2"))
async def pick(template: str) -> WebPageResponse:
    return WebPageResponse("x", template_name=template)


@action(triggers=WebPageTrigger(template_name="script.j2"))
async def data(text: str) -> dict[str, str]:
    return {"text": text}


@action(triggers=WebPageTrigger("POST", template_name="echo.j2"), max_body_bytes=2000)
async def form(number: int) -> str:
    return str(number)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "secret.j2").write_text("SECRET", encoding="utf-8")
    (folder / "templates").mkdir()
    for suffix in SUFFIXES:
        (folder / "templates" / f"echo{suffix}").write_text('<p title="{{ model }}">{{ model }}</p>', encoding="utf-8")
    (folder / "templates" / "script.j2").write_text(
        "<script>const data = {{ model | tojson }}</script>", encoding="utf-8"
    )
    (folder / "templates" / ".hidden.j2").write_text("SECRET", encoding="utf-8")
    os.symlink(folder / "secret.j2", folder / "templates" / "other.txt")
    settings = Settings(
        env="prod", template_path=str(folder / "templates"), redirect_origins=("https://friend.example",)
    )
    with client(create_app(actions=[*map(_echo, SUFFIXES), go, dress, pick, data, form], settings=settings)) as http:
        http.follow_redirects = False
        yield http


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("text", XSS)
def test_text_is_escaped_whatever_the_template_is_called(served, suffix, text):
    page = served.get(f"/echo_{suffix.strip('.').replace('.', '_')}", params={"text": text})
    assert page.status_code == 200
    for character in "<>\"'":
        assert page.text.count(character) == '<p title="">x</p>'.count(character)
    assert "49" not in page.text


@pytest.mark.parametrize("text", XSS)
def test_data_for_a_script_does_not_end_it(served, text):
    page = served.get("/data", params={"text": text})
    assert page.text.count("<") == 2


@pytest.mark.parametrize("text", XSS)
def test_an_error_page_escapes_too(served, text):
    page = served.post("/form", data={"number": text})
    assert page.status_code == 422
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "<svg/" not in page.text  # the header has a picture of its own
    assert "' onmouseover" not in page.text
    lost = served.get(f"/{text}", headers={"Accept": "text/html"})
    assert lost.status_code == 404
    assert "alert" not in lost.text


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "///evil.example", "https://evil.example", "http:evil.example", "javascript:alert(1)", "data:text/html,x",
     "https://testserver@evil.example", "http://testserver.evil.example/", "https://friend.example.evil.example",
     "https://friend.example@evil.example", "ftp://testserver/", "http://[", "http://testserver:81/"],
)  # fmt: skip
def test_a_redirect_does_not_lead_to_another_site(served, to):
    answer = served.get("/go", params={"to": to})
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("to", "location"),
    [("/a?b=c#d", "/a?b=c#d"), ("next", "next"), ("http://testserver/x", "http://testserver/x"), ("/ä €", "/%C3%A4%20%E2%82%AC"),
     ("https://friend.example/x", "https://friend.example/x"), ("/\r\nX-Evil: 1", "/%0D%0AX-Evil:%201"), ("/\\evil.example", "/%5Cevil.example"),
     ("\\\\evil.example", "%5C%5Cevil.example"), ("\t//evil.example", "%09//evil.example"), (" javascript:alert(1)", "%20javascript:alert(1)")],
)  # fmt: skip
def test_a_redirect_is_an_address_and_nothing_more(served, to, location):
    answer = served.get("/go", params={"to": to})
    assert (answer.status_code, answer.headers["location"]) == (303, location)
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x7f", "€", "ü", "a\rb"])
def test_a_header_can_not_become_another_one(served, value):
    answer = served.get("/dress", params={"value": value})
    assert (answer.status_code, "x-evil" in answer.headers) == (400, False)


@pytest.mark.parametrize("name", ["X Mine", "X:Mine", "", "X-Mine\r\nX-Evil", "ü"])
def test_the_name_of_a_header_is_one(served, name):
    assert served.get("/dress", params={"value": "x", "name": name}).status_code == 400


@pytest.mark.parametrize(
    "template",
    [
        "../secret.j2",
        "/etc/passwd",
        "..\\secret.j2",
        "a/../../secret.j2",
        ".hidden.j2",
        "none.j2",
        "{{ 7 }}",
        "a\0b",
        "",
    ],
)
def test_the_name_of_a_template_leads_to_no_other_file(served, template):
    page = served.get("/pick", params={"template": template})
    assert page.status_code in (422, 500) or page.text == '<p title="x">x</p>'
    for secret in ("SECRET", "root:"):
        assert secret not in page.text


# ------------------------------------------------------------------------------------------------------------- bodies


def test_a_form_over_the_limit(served):
    answer = served.post("/form", data={"number": "1" * 3000})
    assert (answer.status_code, 'data-code="too_large"' in answer.text) == (413, True)
    files = {"number": ("a", b"x" * 3000)}
    assert served.post("/form", files=files).status_code == 413


MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
BAD = [
    (b"", MULTIPART, 422),
    (b"nothing", MULTIPART, 422),
    (b"--b\r\n", MULTIPART, 422),
    (b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--\r\n", MULTIPART, 422),
    (b'--b\r\nContent-Disposition: form-data; name="number"\r\n\r\n1', MULTIPART, 422),
    (b'--b\r\nContent-Disposition: form-data; name="number"\r\n\r\n\xff\xfe\r\n--b--\r\n', MULTIPART, 422),
    (b'--c\r\nContent-Disposition: form-data; name="number"\r\n\r\n1\r\n--c--\r\n', MULTIPART, 422),
    (b"--b\r\n", {"Content-Type": "multipart/form-data"}, 422),
    (b"--b\r\n", {"Content-Type": 'multipart/form-data; boundary="' + "b" * 5000 + '"'}, 422),
    (b"x", {"Content-Type": "text/plain"}, 415),
    (b"x", {"Content-Type": ""}, 415),
    (b"%ff=1", {"Content-Type": "application/x-www-form-urlencoded"}, 422),
    (b"number=%00", {"Content-Type": "application/x-www-form-urlencoded"}, 422),
    (b"&".join(b"a=1" for _ in range(480)), {"Content-Type": "application/x-www-form-urlencoded"}, 422),
    (b"{", {"Content-Type": "application/json"}, 422),
]


@pytest.mark.parametrize(("body", "headers", "status"), BAD, ids=range(len(BAD)))
def test_a_malformed_body_is_the_senders_error(served, body, headers, status):
    answer = served.post("/form", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text


def test_more_fields_than_a_form_may_have(tmp_path):
    (tmp_path / "echo.j2").write_text("", encoding="utf-8")

    @action(triggers=WebPageTrigger("POST", template_name="echo.j2"))
    async def many() -> None: ...

    @action(triggers=WebPageTrigger("POST", template_name="echo.j2"))
    async def one(a: str) -> None: ...

    with client(create_app(actions=[many, one], settings=Settings(template_path=str(tmp_path)))) as http:
        parts = b"".join(b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' for _ in range(1100))
        assert http.post("/one", content=parts + b"--b--\r\n", headers=MULTIPART).status_code == 422
        assert http.post("/many", content=parts + b"--b--\r\n", headers=MULTIPART).status_code == 200


@pytest.mark.parametrize(
    "path", ["/echo_j2/..%2f..%2fsecret.j2", "/%2e%2e/secret.j2", "/templates/echo.j2", "/echo.j2"]
)
def test_templates_are_not_files_of_the_site(served, path):
    assert served.get(path).status_code == 404


METHODS = ["POST", "PUT", "PATCH", "DELETE"]


def test_another_site_changes_nothing_by_any_method(tmp_path):
    (tmp_path / "echo.j2").write_text("{{ model }}", encoding="utf-8")
    done = []

    def page(method: str):
        @action(
            name=f"change_{method}",
            triggers=WebPageTrigger(method, "/change", "echo.j2"),
            access_control=ScopeAccessControl("root"),
        )
        async def change() -> str:
            done.append(method)
            return "done"

        return change

    settings = Settings(env="prod", template_path=str(tmp_path), login_password="sesame", jwt_secret_key=SECRET)
    with client(create_app(actions=[*map(page, METHODS)], settings=settings)) as http:
        token = http.post("/login", data={"username": "root", "password": "sesame"}).json()["access_token"]
        cookie = {"cookie": f"servey_token={token}"}
        for method in METHODS:
            for origin in (
                {"origin": "https://evil.example"},
                {"origin": "null"},
                {"origin": "http://testserver:81"},
                {},
            ):
                assert http.request(method, "/change", headers={**cookie, **origin}).status_code == 403, (
                    method,
                    origin,
                )
            assert done == []
            own = {**cookie, "origin": "http://testserver"}
            assert http.request(method, "/change", headers=own).status_code == 200
            assert http.request(method, "/change", headers={"authorization": f"Bearer {token}"}).status_code == 200
            assert done == [method, method]
            done.clear()


@dataclass
class Node:
    name: str = ""
    next: "Node | None" = None


@pytest.mark.parametrize("depth", [65, 1000, 10_000, 100_000])
@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_deep_key_is_the_senders_error(tmp_path, depth, media_type):
    (tmp_path / "node.j2").write_text("{{ model }}", encoding="utf-8")

    @action(triggers=WebPageTrigger("POST", "/node", "node.j2"))
    async def node(node: Node) -> str:
        return "taken"

    key = b"node" + b".next" * depth + b".name"
    body = key + b"=1"
    if media_type.startswith("multipart"):
        body = b'--x\r\nContent-Disposition: form-data; name="' + key + b'"\r\n\r\n1\r\n--x--\r\n'
    with client(create_app(actions=[node], settings=Settings(env="dev", template_path=str(tmp_path)))) as http:
        answer = http.post("/node", content=body, headers={"content-type": media_type})
        assert 400 <= answer.status_code < 500
        good = http.post("/node", data={"node.next.next.name": "x"})
        assert (good.status_code, good.text) == (200, "taken")
