"""Finding a project's actions, and being loud about what is wrong."""

import pytest

from servey import WEB_GET, ConfigError, Settings, action, create_app
from tests.serving import run

HELLO = "from servey import WEB_GET, action\n@action(triggers=WEB_GET)\ndef {name}() -> str:\n    return '{name}'\n"


def project(folder, **modules):
    for name, text in modules.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def listed(folder, **env):
    done = run("-m", "servey", "actions", cwd=folder, **env)
    return (
        done.returncode,
        [line.split()[0] for line in done.stdout.splitlines()[1:] if not line.startswith(" ")],
        done.stderr,
    )


def test_one_module(tmp_path):
    assert listed(project(tmp_path, actions=HELLO.format(name="one"))) == (0, ["one"], "")


def test_a_package_is_walked_recursively(tmp_path):
    project(
        tmp_path,
        actions____init__=HELLO.format(name="top"),
        actions__deep____init__="",
        actions__deep__leaf=HELLO.format(name="leaf"),
        actions__again="from actions.deep.leaf import leaf\n" + HELLO.format(name="again"),
    )
    code, names, _ = listed(tmp_path)
    assert (code, sorted(names)) == (0, ["again", "leaf", "top"])  # one imported twice is one action


def test_folders_without_init_are_walked_too(tmp_path):
    project(
        tmp_path,
        actions____init__="data = 1",
        actions__users__admin__create=HELLO.format(name="create"),
        actions__users__tests__test_create="raise AssertionError",
    )
    (tmp_path / "actions/data").mkdir()
    (tmp_path / "actions/users/again").symlink_to(tmp_path / "actions")
    assert listed(tmp_path) == (0, ["create"], "")


def test_no_actions_at_all_is_a_warning(tmp_path):
    code, names, problem = listed(tmp_path)
    assert (code, names, problem.startswith("warning: the app has no actions")) == (0, [], True)


def test_where_to_look(tmp_path):
    project(
        tmp_path,
        shop____init__="",
        shop__actions=HELLO.format(name="sold"),
        a=HELLO.format(name="first"),
        b=HELLO.format(name="second"),
    )
    assert listed(tmp_path, SERVEY_MAIN="shop")[1] == ["sold"]
    assert listed(tmp_path, SERVEY_ACTION_PATH="a, b")[1] == ["first", "second"]


@pytest.mark.parametrize(
    ("env", "module"),
    [
        ({"SERVEY_ACTION_PATH": "nowhere"}, "nowhere"),
        ({"SERVEY_MAIN": "nowhere"}, "nowhere.actions"),
        ({"SERVEY_ACTION_PATH": "actions.deeper"}, "actions.deeper"),
    ],
)
def test_what_was_named_must_be_there(tmp_path, env, module):
    code, _, errors = listed(project(tmp_path, actions____init__=""), **env)
    assert (code, f"module '{module}' does not exist" in errors) == (1, True)
    assert "Traceback" not in errors


def test_every_problem_at_once_with_its_place(tmp_path):
    project(
        tmp_path,
        actions____init__="",
        actions__broken="x = 1\nimport no_such_module\n",
        actions__syntax="def act(:\n",
        actions__raises="x = 1\ny = 2\nraise RuntimeError('at import')\n",
        actions__exits="import sys\nsys.exit('bye')\n",
    )
    code, _, errors = listed(tmp_path)
    assert code == 1
    assert sorted(errors.splitlines()) == [
        "error: module 'actions.broken' cannot be imported (actions/broken.py:2): "
        "ModuleNotFoundError: No module named 'no_such_module'",
        "error: module 'actions.exits' cannot be imported (actions/exits.py:2): SystemExit: bye",
        "error: module 'actions.raises' cannot be imported (actions/raises.py:3): RuntimeError: at import",
        "error: module 'actions.syntax' cannot be imported (actions/syntax.py:1): "
        "SyntaxError: invalid syntax (syntax.py, line 1)",
    ]


def test_a_package_that_imports_what_is_not_there(tmp_path):
    code, _, errors = listed(project(tmp_path, actions="import actions_of_nobody\n"))
    assert (code, "actions_of_nobody" in errors, "actions.py:1" in errors) == (1, True, True)


def test_bad_signatures_of_several_modules(tmp_path):
    bad = "from servey import action\n\n@action\ndef {name}(a, *b) -> None: ...\n"
    project(tmp_path, actions____init__="", actions__one=bad.format(name="one"), actions__two=bad.format(name="two"))
    code, _, errors = listed(tmp_path)
    assert code == 1
    assert errors.splitlines() == [
        "error: action 'one' (actions/one.py:3): parameter 'a' has no annotation; add one, e.g. a: int",
        "error: action 'two' (actions/two.py:3): parameter 'a' has no annotation; add one, e.g. a: int",
    ]


def test_a_name_taken_twice_names_both_places(tmp_path):
    project(
        tmp_path, actions____init__="", actions__one=HELLO.format(name="same"), actions__two=HELLO.format(name="same")
    )
    code, _, errors = listed(tmp_path)
    assert code == 1
    assert "action 'same' is defined twice: actions/one.py:2 and actions/two.py:2" in errors


def test_what_is_given_is_checked_too():
    @action(triggers=WEB_GET)
    def act() -> None: ...

    def plain() -> None: ...

    with pytest.raises(ConfigError, match="plain.* is not an action; decorate it with @action"):
        create_app(actions=[act, plain], settings=Settings(env="dev"))


def test_settings_say_which_variable_is_wrong(tmp_path):
    done = run("-m", "servey", "actions", cwd=tmp_path, SERVEY_PORT="many", SERVEY_ENV="test", SERVEY_LOG_LEVEL="loud")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert any("SERVEY_PORT" in line and "'many'" in line for line in lines)
    assert any("SERVEY_ENV" in line and "'dev' or 'prod'" in line for line in lines)
    assert any("SERVEY_LOG_LEVEL" in line and "INFO" in line for line in lines)


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("SERVER_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("SERVER_PORT", "81", "port", 81),
        ("PORT", "82", "port", 82),
        ("LOGLEVEL", "debug", "log_level", "DEBUG"),
        (
            "CORS_ALLOWED_ORIGINS",
            "https://a.example, https://b.example",
            "cors_allowed_origins",
            ("https://a.example", "https://b.example"),
        ),
        ("JWT_SECRET_KEY", "s" * 40, "jwt_secret_key", "s" * 40),
        ("SERVEY_STRICT_SCHEMA", "1", "strict_schema", True),
        ("SERVEY_API_TITLE", "Mine", "api_title", "Mine"),
    ],
)
def test_the_seeds_variables(monkeypatch, variable, value, field, expected):
    monkeypatch.setenv(variable, value)
    assert getattr(Settings(), field) == expected
    assert "s" * 40 not in repr(Settings())
