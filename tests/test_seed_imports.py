"""The old import paths, in whatever order they are imported."""

import importlib
import itertools
import pickle

import pytest

import servey
from servey.seed_imports import SEED_PATHS
from tests.serving import run


@pytest.mark.parametrize("path", SEED_PATHS)
def test_every_old_path_has_its_names(path):
    module = importlib.import_module(path)
    for name, home in SEED_PATHS[path].items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


LINES = (
    "from servey import action as a",
    "from servey.action.action import action as b",
    "import servey.action.example",
    "import servey.action.action as c",
    "from servey.security.authorization import Authorization",
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_the_decorator_stays_the_decorator(order):
    program = "\n".join(LINES[index] for index in order) + (
        "\nimport servey, inspect"
        "\nassert inspect.isfunction(a) and a is b is c.action is servey.action is servey.action.action.action"
        "\nassert servey.action.example.Example is servey.Example"
        "\nprint('fine')"
    )
    done = run("-c", program)
    assert done.stdout == "fine\n", done.stderr


def test_star_imports_and_pickles():
    namespace: dict[str, object] = {}
    exec("from servey import *", namespace)
    assert namespace["action"] is servey.action
    from servey.action.example import Example

    assert pickle.loads(pickle.dumps(Example("a"))) == Example("a")


def test_what_was_never_there_is_still_not_there():
    for name in ("servey.action.nothing", "servey.nothing", "servey.security.nothing"):
        with pytest.raises(ModuleNotFoundError, match=name):
            importlib.import_module(name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = servey.nothing
