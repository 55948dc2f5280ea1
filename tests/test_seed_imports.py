"""The old import paths, in whatever order they are imported."""

import importlib
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


LINES = [
    "from servey import action as a",
    "from servey.action.action import action as b",
    "import servey.action.example",
    "import servey.action.action as c",
]

# Each order runs in a process that has imported what Servey stands on, and nothing of Servey.
IN_EVERY_ORDER = """
import itertools, os, sys, traceback
import fastapi, pydantic_settings

def check():
    import inspect, servey
    assert inspect.isfunction(a) and a is b is c.action is servey.action is servey.action.action.action
    assert servey.action.example.Example is servey.Example

for order in itertools.permutations(LINES):
    child = os.fork()
    if child == 0:
        try:
            exec("\\n".join(order), globals())
            check()
        except BaseException:
            traceback.print_exc()
            print(*order, sep="\\n", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("the order above fails")
"""


def test_the_decorator_stays_the_decorator_whatever_is_imported_first():
    done = run("-c", f"LINES = {LINES}\n{IN_EVERY_ORDER}", timeout=50)
    assert done.returncode == 0, done.stderr


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
