"""Project layouts that a Lambda package is made of. Each has once been packaged into a zip that could not start."""

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

SAY = """from servey import WEB_GET, action


@action(triggers=WEB_GET)
def say_hello(name: str) -> str:
    return f"Hello {name}!"
"""
LIBRARY = '[project]\nname = "library"\nversion = "1"\n'

ACTIONS = """
import asyncio
import threading
import time
from datetime import datetime
from pathlib import Path

import servey_test_constrained
import servey_test_grouped
import servey_test_hashed
import library_of_ours

from servey import WEB_GET, action

BEATS: list[float] = []


def beat() -> None:
    while True:
        time.sleep(0.02)
        BEATS.append(time.monotonic())


@action(triggers=WEB_GET)
def say_hello(name: str) -> str:
    return f"Hello {name}!"


@action
async def start_beating() -> None:
    threading.Thread(target=beat, daemon=True).start()


@action
async def longest_silence() -> float:
    await asyncio.sleep(0.1)
    return max(after - before for before, after in zip(BEATS, BEATS[1:], strict=False))


@action(timeout=300)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@action
async def large(size: int) -> str:
    return "x" * size
"""
BARE = """
from fastapi import FastAPI
from mangum import Mangum

app = FastAPI()


@app.get("/actions/say-hello")
def say_hello(name: str) -> str:
    return f"Hello {name}!"


handler = Mangum(app, lifespan="off")
"""


@dataclass(frozen=True)
class Layout:
    """A project in the folder `project` and what is beside it.

    Shape: ``links`` are symbolic links with their targets; ``paths`` are added to the import path, and ``env`` to the
    environment; ``tops`` are expected at the top of the package, ``never`` are not expected anywhere in it; ``problem`` is
    part of the expected error.
    """

    files: dict[str, str]
    links: dict[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    tops: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    problem: str = ""
    warning: str = ""


def project(text: str = SAY, **files: str) -> dict[str, str]:
    return {"project/actions.py": text, **{f"project/{name}": content for name, content in files.items()}}


LAYOUTS: dict[str, Layout] = {
    "one module": Layout(project()),
    "a package of actions": Layout(
        {"project/actions/__init__.py": "", "project/actions/say.py": SAY}, tops=("actions",)
    ),
    "a folder of actions without __init__": Layout(
        {"project/actions/say.py": SAY}, env={"SERVEY_ACTION_PATH": "actions.say"}
    ),
    "src": Layout(
        {"project/src/shop/__init__.py": "", "project/src/shop/actions.py": SAY},
        paths=("project/src",),
        env={"SERVEY_MAIN": "shop"},
        tops=("shop",),
        never=("src/shop/actions.py",),
    ),
    "a module beside the project": Layout(
        {**project("import common\n" + SAY), "lib/common.py": "X = 1\n"}, paths=("lib",), tops=("common.py",)
    ),
    "a package beside the project, with data": Layout(
        {
            **project("import common\n" + SAY),
            "lib/common/__init__.py": "from pathlib import Path\nX = (Path(__file__).parent / 'x.txt').read_text()\n",
            "lib/common/x.txt": "x",
            "lib/common/server.key": "x",
        },
        paths=("lib",),
        tops=("common",),
        never=("common/server.key",),
    ),
    "a module beside the project that imports another": Layout(
        {**project("import one\n" + SAY), "lib/one.py": "import two\n", "more/two.py": ""},
        paths=("lib", "more"),
        tops=("one.py", "two.py"),
    ),
    "a module beside the project, imported in a call": Layout(
        {**project(SAY + "    import common\n"), "lib/common.py": "X = 1\n"}, paths=("lib",), tops=("common.py",)
    ),
    "actions in a folder named build": Layout(
        {"project/actions/__init__.py": "", "project/actions/build/__init__.py": SAY}
    ),
    "a package named build": Layout(
        {**project("import build\n" + SAY), "project/build/__init__.py": "", "project/build/lib/a.py": ""},
        tops=("build",),
    ),
    "a package named dist": Layout({**project("import dist\n" + SAY), "project/dist/__init__.py": ""}, tops=("dist",)),
    "a package named test": Layout({**project("import test\n" + SAY), "project/test/__init__.py": ""}, tops=("test",)),
    "a package that begins like boto3": Layout(
        {**project("import boto3_helpers\n" + SAY), "project/boto3_helpers/__init__.py": ""}, tops=("boto3_helpers",)
    ),
    "boto3 itself": Layout(project("import boto3\n" + SAY)),
    "a folder bin with a file that is read": Layout(
        {**project("X = open('bin/tool', encoding='utf-8').read()\n" + SAY), "project/bin/tool": "x"}, tops=("bin",)
    ),
    "a link to a package": Layout(
        {**project("import common\n" + SAY), "lib/common/__init__.py": ""},
        links={"project/common": "../lib/common"},
        tops=("common",),
    ),
    "a link to nothing, and one to the project": Layout(
        project(),
        links={"project/old.txt": "nowhere/at/all", "project/self": "."},
        never=("old.txt", "self/actions.py"),
    ),
    "a link to a secret": Layout(
        {**project(), "id_rsa": "x"}, links={"project/notes.txt": "../id_rsa"}, never=("notes.txt",)
    ),
    "secrets": Layout(
        project(
            **{
                ".env": "A=1",
                "prod.env": "A=1",
                "certs/server.pem": "x",
                "certs/ca.crt": "x",
                "infra/terraform.tfstate.backup": "x",
            }
        ),
        tops=("certs",),
        never=(".env", "prod.env", "certs/server.pem", "infra/terraform.tfstate.backup"),
    ),
    "products of build tools": Layout(
        project(**{"build/lib/a.py": "", "dist/a-1.whl": "", "shop.egg-info/PKG-INFO": "", "node_modules/a.js": ""}),
        never=("build/lib/a.py", "dist/a-1.whl", "shop.egg-info/PKG-INFO", "node_modules/a.js"),
    ),
    "a virtual environment": Layout(
        project(**{"env/pyvenv.cfg": "", "env/lib/python3/site-packages/a.py": ""}), never=("env/pyvenv.cfg",)
    ),
    "a module with the name of a dependency": Layout(
        {**project("import jinja2\nassert jinja2.OURS\n" + SAY), "project/jinja2.py": "OURS = True\n"},
        tops=("jinja2.py",),
    ),
    "an app in app.py, with its own handler": Layout(
        {
            "project/api.py": SAY,
            "project/app.py": "from api import say_hello\nfrom servey import create_app\nfrom servey.aws import build_handler\n"
            "servey_app = create_app(actions=[say_hello])\nhandler = build_handler(servey_app)\n",
        },
        env={"SERVEY_AWS_HANDLER": "app.handler"},
    ),
    "an optional import": Layout(
        project("try:\n    import nothing_of_the_kind\nexcept ImportError:\n    pass\n" + SAY)
    ),
    "an import of a module that is left out": Layout(
        project("import tests.factories\n" + SAY, **{"tests/factories.py": "", "tests/__init__.py": ""}),
        problem="actions.py:1 imports 'tests.factories', which is not in the package: tests/ is left out: it contains tests",
    ),
    "a dependency that is not required": Layout(
        project("import sqlalchemy\n" + SAY),
        problem="actions.py:1 imports 'sqlalchemy', which is not in the package: it is of the package SQLAlchemy, which the "
        "project does not require; add SQLAlchemy to requirements.txt",
    ),
    "two dependencies that are not required": Layout(
        project("import shop\n" + SAY, **{"shop.py": "import sqlalchemy\nimport argon2\n", "pyproject.toml": LIBRARY}),
        problem="shop.py:2 imports 'argon2', which is not in the package",
    ),
    "a dependency of another group": Layout(
        project("import sqlalchemy\n" + SAY, **{"pyproject.toml": '[dependency-groups]\ndb = ["sqlalchemy"]\n'}),
        problem="only --group db requires SQLAlchemy; call servey package --group db, or add it to the dependencies",
    ),
    "a dependency that a call imports": Layout(
        project(SAY + "    import sqlalchemy\n"), warning="actions.py:7 imports 'sqlalchemy' later"
    ),
    "a file that is left out": Layout(
        project("X = open('certs/ca.pem', encoding='utf-8').read()\n" + SAY, **{"certs/ca.pem": "x"}),
        problem="FileNotFoundError",
    ),
}


def wheel(folder: Path, name: str, **modules: str) -> str:
    """Write a wheel with these modules into a folder and return its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = {
        **{f"{module}.py": text for module, text in modules.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    (folder / f"{name}-1.0-py3-none-any.whl").write_bytes(content.getvalue())
    return "sha256:" + hashlib.sha256(content.getvalue()).hexdigest()
