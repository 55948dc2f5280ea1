"""The example projects and the demo app of servey 5, started with the changes that docs/from-servey-5.md names.

They are not part of this project: SERVEY5_CLONE names a folder with a clone of their repository.
"""

import os
import shutil
from pathlib import Path

import httpx
import pytest

from servey.migrate5 import findings
from tests.serving import free_port, run, started

pytestmark = pytest.mark.drill

EXAMPLES = {
    "a_hello_world": {"/": "<h1>Greeting Service</h1>", "/actions/say-hello?name=You": '"Hello You!"'},
    "b_end_2_end": {"/": "<h1>A Static Page</h1>", "/actions/say-hello?name=You": '"Hello You!"'},
    "c_generated": {"/actions/generated-2": '"action_name was generated_2"'},
}
DEMO = {
    "/": "<h1>Welcome to Servey!</h1>",
    "/current-time-page": "The current time is",
    "/actions/number-stats?value=5": '{"value":5}',
    "/actions/get-node?path=child_a": '{"name":"child_a","child_nodes":[{"name":"grandchild_a","child_nodes":[]}]}',
    "/actions/current-user-info": "null",
    "/actions/generated-3": '"action_name was generated_3"',
}
EVERYWHERE = ("/openapi.json", "/docs", "/graphiql", "/asyncapi.json")


@pytest.fixture
def clone() -> Path:
    folder = os.environ.get("SERVEY5_CLONE")
    if folder is None:
        pytest.skip("SERVEY5_CLONE must name a clone of the repository of servey 5")
    return Path(folder)


def in_python(folder: Path) -> list[str]:
    return [each.text for each in findings(folder) if each.is_error and each.path.suffix in ("", ".py")]


def check(folder: Path, pages: dict[str, str], **env: str) -> str:
    """Start a project as its README says, compare pages, and return the URL's answer of a login-free POST."""
    port = free_port()
    with started(["-m", "main"], port, cwd=folder, SERVER_PORT=str(port), **env) as server:
        for path, text in pages.items():
            assert text in httpx.get(server.url + path).text, path
        for path in EVERYWHERE:
            assert httpx.get(server.url + path).status_code == 200, path
        user = {"username": "root", "password": "password"}
        return httpx.post(f"{server.url}/actions/auth-token", json=user).text


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_starts_unchanged(clone, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(clone / "examples" / name, folder)
    assert in_python(folder) == []
    check(folder, EXAMPLES[name])
    if (folder / "serverless.yml").exists():
        (folder / "serverless.yml").rename(folder / "old-serverless.yml")  # as `servey migrate5` says
    done = run("-m", "main", "--run=sls", cwd=folder)
    assert (done.returncode, "wrote serverless.yml" in done.stderr) == (0, True), done.stderr


def test_the_demo_starts_with_three_changes(clone, tmp_path):
    for name in ("servey_main", "static_site"):
        shutil.copytree(clone / name, tmp_path / name)
    shutil.copy(clone / "main.py", tmp_path)
    assert len(in_python(tmp_path)) == 3
    actions = tmp_path / "servey_main" / "actions.py"
    text = actions.read_text(encoding="utf-8")
    for old, new in (
        (
            "servey.security.authorizer.authorizer_factory_abc import get_default_authorizer",
            "servey import issue_token",
        ),
        ("authorizer = get_default_authorizer()", ""),
        ("authorizer.encode(authorization)", 'issue_token("root", scopes=authorization.scopes)'),
        ('ForwardRef(f"{__name__}.Node")', '"Node"'),
    ):
        assert old in text
        text = text.replace(old, new)
    actions.write_text(text, encoding="utf-8")
    (tmp_path / ".env").write_text("SERVEY_MAIN=servey_main\n", encoding="utf-8")
    assert in_python(tmp_path) == []
    token = check(tmp_path, DEMO)
    assert token.count(".") == 2
