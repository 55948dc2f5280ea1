"""What `servey sls` and `servey package` say of a project whose actions they do not find."""

from tests.sls.layouts import SAY
from tests.sls.projects import HELLO


def test_an_app_without_actions_gets_a_warning(project):
    _, _, errors = project({"README.md": ""})("sls")
    assert "warning: the app has no actions; name their modules in SERVEY_ACTION_PATH" in errors


def test_actions_in_src_are_pointed_out(project):
    servey = project({"src/shop/__init__.py": "", "src/shop/actions.py": SAY})
    assert "no actions; set PYTHONPATH=src and SERVEY_MAIN=shop" in servey("sls")[2]
    code, _, errors = servey("sls", SERVEY_MAIN="shop")
    assert code == 1
    assert "it may be in src: set PYTHONPATH=src" in errors


def test_with_actions_there_is_no_warning(project):
    assert "warning" not in project(HELLO)("sls")[2]
