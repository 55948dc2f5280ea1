"""`servey migrate5` finds what a project of servey 5 has to change, and nothing in a project of this version."""

import pytest

from servey.migrate5 import findings
from tests.serving import ROOT, run

AUTHORIZER = (
    "there is no module servey.security.authorizer.authorizer_factory_abc: issue tokens with servey.issue_token"
)
PROJECT = {
    "actions.py": """\
import marshy
from servey.action.action import action, get_action
from servey.cache_control.ttl_cache_control import TtlCacheControl
from servey.security.access_control.allow_all import ALLOW_ALL, AllowAll
from servey.security.authorizer.authorizer_factory_abc import get_default_authorizer
from servey.servey_aws import lambda_invoker
from servey.action.batch_invoker import BatchInvoker
from servey.event_channel.webhook_event_channel import WebhookEventChannel

def load(keys, authorization):
    return keys

class Stats:
    more: list[ForwardRef(f"{__name__}.Stats")]

    @action(triggers=(), batch_invoker=BatchInvoker(load))
    def factorial(self) -> int:
        return 1

hook = WebhookEventChannel("https://x.example", None, None)
slow = action(cache_control=TtlCacheControl(30, cache_control=None))
old = getattr(load, "__servey_action__", None) or load.__servey_action__
valid = lambda authorization: authorization.is_valid_for_timestamp()
nobody = ScopeAccessControl(None)
may = lambda authorization: nobody.is_executable(authorization)
""",
    "templates/stats.j2": "<p>{{ model.value }}</p>\n{% for k, v in model.items() %}{{ k }}{% endfor %}\n",
    ".env": "SERVER_PORT=9000\nCELERY_BROKER=redis://localhost\nSERVEY_API_VERSION=1\n",
    "requirements.txt": "servey[server]~=2.7\n",
    "Procfile": "worker: celery -A servey.servey_celery.celery_app worker\n",
    "serverless.yml": "provider:\n  runtime: python3.9\nfunctions:\n  - ${file(serverless_servey/actions.yml)}\n"
    "resources:\n  - ${file(serverless_servey/kms.yml)}\n",
    "injecty_config_shop/__init__.py": "def configure(context):\n    pass\n",
    "node_modules/x/actions.py": "import marshy\n",
    "broken.py": "def (:\n",
    "servey_main/__init__.py": "",
}

EXPECTED = [
    (".env", 2, "CELERY_BROKER: set SERVEY_REDIS_URL", True),
    (".env", 3, "SERVEY_API_VERSION: write create_app(version=...)", False),
    ("Procfile", 1, "there is no Celery", True),
    ("actions.py", 1, "marshy: Servey uses Pydantic", True),
    ("actions.py", 4, "servey.security.access_control.allow_all has no AllowAll", True),
    ("actions.py", 5, AUTHORIZER, True),
    ("actions.py", 14, "a field's ForwardRef cannot name a module", True),
    ("actions.py", 16, "BatchInvoker calls load with the keys only", True),
    ("actions.py", 17, "the action is named Stats.factorial", False),
    ("actions.py", 20, "WebhookEventChannel: write webhook_event_channel", True),
    ("actions.py", 21, "TtlCacheControl has no cache_control", True),
    ("actions.py", 22, "__servey_action__: write servey_action", True),
    ("actions.py", 23, "is_valid_for_timestamp: write is_valid_at", True),
    ("actions.py", 24, "ScopeAccessControl(None) is refused: write ALLOW_NONE", True),
    ("actions.py", 25, "is_executable: a rule is a function", True),
    ("broken.py", 1, "Python cannot read this file", True),
    ("injecty_config_shop/__init__.py", 1, "injecty_config_shop is not read any more", True),
    ("requirements.txt", 1, "the package index may serve servey 5", True),
    ("serverless.yml", 2, "Python 3.11 or newer", True),
    ("serverless.yml", 4, "rename this file", True),
    ("servey_main", 1, "set SERVEY_MAIN=servey_main", True),
    ("templates/stats.j2", 2, "the model is the Python object itself", True),
]


@pytest.fixture
def project(tmp_path):
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_it_finds_each_thing_once_with_its_place(project):
    found = [(str(each.path), each.line, each.text, each.is_error) for each in findings(project)]
    assert [each[:2] for each in found] == [each[:2] for each in EXPECTED]
    for (_, _, text, is_error), (_, _, begin, expected) in zip(found, EXPECTED, strict=True):
        assert (text[: len(begin)], is_error) == (begin, expected)


def test_the_command_prints_them_by_file_and_writes_nothing(project):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = run("-m", "servey", "migrate5", str(project))
    assert done.returncode == 1, done.stderr
    assert ".env\n  2: CELERY_BROKER: set" in done.stdout
    assert "\n  17: note: the action is named Stats.factorial" in done.stdout
    assert done.stdout.endswith("20 to change, 2 to know; docs/from-servey-5.md lists what behaves differently\n")
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_a_folder_that_is_none(tmp_path):
    done = run("-m", "servey", "migrate5", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}/nowhere is not a folder\n")


def test_projects_of_this_version_have_nothing_to_change():
    for example in ("tour", "conduit", "tutorial", "end_to_end"):
        assert [each for each in findings(ROOT / "examples" / example) if each.is_error] == []


def test_files_are_read_as_python_reads_them(tmp_path):
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1\r\n")
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    (tmp_path / "nul.py").write_bytes(b"a\0b")
    (tmp_path / "deep.py").write_text("-" * 100_000 + "1", encoding="utf-8")
    (tmp_path / "coding.py").write_text("# -*- coding: nope -*-\n", encoding="utf-8")
    (tmp_path / ".#locked.py").symlink_to("nowhere")
    done = run("-m", "servey", "migrate5", str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("Python cannot read this file") == 3
    assert "bom.py" not in done.stdout
    assert "latin.py" not in done.stdout


def test_a_folder_without_files_of_a_project(tmp_path):
    done = run("-m", "servey", "migrate5", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path} has no files of a project for servey 5\n")
