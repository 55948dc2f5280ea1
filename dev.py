#!/usr/bin/env python3
"""Runs, tests and checks Servey from a clone; needs Python 3.11 or newer and nothing else.

    python3 dev.py run      serve the tour of examples, with reload, on http://127.0.0.1:8000
    python3 dev.py test     the whole test suite but its slow tiers
    python3 dev.py lint     ruff: rules and format
    python3 dev.py types    mypy (strict) and pyright
    python3 dev.py docs     every snippet of the README and the docs
    python3 dev.py slow     the slow tiers of the test suite
    python3 dev.py drill    what takes many minutes: a soak, tens of thousands of generated requests and documents
    python3 dev.py browser  the tests in a browser, Debian's chromium; "browser images" takes the pictures of the docs too
    python3 dev.py oldest   the tests that other packages' versions matter to, on the oldest ones that Servey supports
    python3 dev.py newest   the same on the newest ones that there are
    python3 dev.py bench    the benchmarks: bench [graphql|fanout|jobs] [--quick] [--write]

What a command needs is installed into .venv beside this file, the first time and whenever it has changed. Words after
the command are passed on, e.g.: python3 dev.py test tests/test_cli.py -k call
"""

# Nothing here may need more than an old Python 3 to be read, so that an old one can say that it is too old.
import hashlib
import os
import re
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "installed.txt")
OLDEST = (3, 11)
SHIFTING = ("fastapi", "starlette", "pydantic", "strawberry-graphql")
VERSIONED = ["tests/routers", "tests/contract", "tests/graphql", "tests/test_dependencies.py", "tests/test_threads.py"]


def run(words):
    """The tour of examples, served with reload."""
    return call([PYTHON, "-m", "servey", "dev"] + words, cwd=os.path.join(ROOT, "examples", "tour"))


def test(words):
    """The fast tests, with the coverage of the package."""
    tiers = [] if any(word == "-m" for word in words) else ["-m", "not slow and not browser and not docker"]
    side_by_side = [] if words else ["-q", "-n", "2", "--dist", "loadfile"]
    code = call([PYTHON, "-m", "coverage", "run", "-m", "pytest"] + side_by_side + tiers + words)
    if code == 0 and not words:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.call([PYTHON, "-m", "coverage", "combine"], cwd=ROOT, **quiet)
        call([PYTHON, "-m", "coverage", "report"])
    return code


def slow(words):
    """The tests that take long."""
    return call([PYTHON, "-m", "pytest", "-q", "-m", "slow and not drill"] + words)


def drill(words):
    """The tests that take very long."""
    return call([PYTHON, "-m", "pytest", "-q", "-m", "drill"] + words)


def lint(words):
    """ruff's rules, then its format."""
    return call([PYTHON, "-m", "ruff", "check"] + (words or ["."])) or call(
        [PYTHON, "-m", "ruff", "format", "--check"] + (words or ["."])
    )


def types(words):
    """mypy in strict mode, then pyright."""
    return call([PYTHON, "-m", "mypy"] + words) or call([PYTHON, "-m", "pyright", "--pythonpath", PYTHON] + words)


def docs(words):
    """The snippets of the README and the docs."""
    return call([PYTHON, "-m", "pytest", "tests/repo/test_docs.py"] + words)


def browser(words):
    """The tests that drive a browser."""
    if words[:1] == ["images"]:
        os.environ["TAKE_SCREENSHOTS"] = "1"
        words = words[1:]
    return call([PYTHON, "-m", "pytest", "tests/browser", "-m", "browser"] + words)


def oldest(words):
    """The tests that versions matter to, on the floors of pyproject.toml."""
    return versions("oldest", ["%s==%s" % (name, floor_of(name)) for name in SHIFTING], words)


def newest(words):
    """The same on what the index has newest."""
    return versions("newest", ["--upgrade"] + list(SHIFTING), words)


def versions(name, wanted, words):
    """Tests with other versions of a few packages, in a small virtual environment in front of .venv."""
    home = VENV + "-" + name
    python = os.path.join(home, os.path.relpath(PYTHON, VENV))
    if name == "newest" or read(os.path.join(home, "installed.txt")) != wanted_stamp():
        say("Installing the %s versions of %s." % (name, ", ".join(SHIFTING)))
        subprocess.check_call([PYTHON, "-m", "venv", "--clear", home])
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own, below = (
            subprocess.check_output([each, "-c", where], cwd=ROOT).decode().strip() for each in (python, PYTHON)
        )
        with open(os.path.join(own, "below.pth"), "w") as path:
            path.write("import site; site.addsitedir(%r)\n" % below)
        pip("install", *wanted, python=python)
        with open(os.path.join(home, "installed.txt"), "w") as stamp:
            stamp.write(wanted_stamp())
    shown = "import importlib.metadata as m; print(*('%%s %%s' %% (n, m.version(n)) for n in %r), sep=', ')" % (
        SHIFTING,
    )
    subprocess.check_call([python, "-c", shown], cwd=ROOT)
    # The oldest Starlette knows a name of anyio's that is called deprecated since.
    known = "ignore:The anyio.abc.BlockingPortal alias is deprecated:DeprecationWarning"
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", known]
    if words:
        return call(pytest + words)
    # The newest ones are those of requirements.txt most of the time, and the slow tiers have run with them.
    tier = "not browser" if name == "oldest" else "not slow"
    there = [each for each in VERSIONED if os.path.exists(os.path.join(ROOT, each))]
    return call(pytest + ["-m", tier, "tests/differential"]) or call(
        pytest + ["-n", "2", "--dist", "loadfile", "-m", "not slow and not browser and not docker"] + there
    )


def floor_of(name):
    """The oldest version of a package that pyproject.toml lets in."""
    return re.search(r'"%s>=([0-9.]+)' % re.escape(name), read(os.path.join(ROOT, "pyproject.toml"))).group(1)


def read(path):
    """A file's text; nothing where there is none."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


def bench(words):
    """The benchmarks of requests, or those named: graphql, fanout, jobs. Their peers have an environment of their own."""
    home = VENV + "-peers"
    pins = read(os.path.join(ROOT, "benchmarks", "peers", "requirements.txt"))
    if read(os.path.join(home, "installed.txt")) != pins:
        say("Installing the peers of the benchmarks into .venv-peers; this takes a minute, once.")
        subprocess.check_call([PYTHON, "-m", "venv", "--clear", home])
        python = os.path.join(home, os.path.relpath(PYTHON, VENV))
        pip("install", "-r", os.path.join(ROOT, "benchmarks", "peers", "requirements.txt"), python=python)
        with open(os.path.join(home, "installed.txt"), "w") as stamp:
            stamp.write(pins)
    named = words[:1] if words and os.path.exists(os.path.join(ROOT, "benchmarks", words[0] + ".py")) else []
    return call([PYTHON, "-m", ".".join(["benchmarks"] + named)] + words[len(named) :])


COMMANDS = {
    "run": run,
    "test": test,
    "lint": lint,
    "types": types,
    "docs": docs,
    "slow": slow,
    "drill": drill,
    "browser": browser,
    "oldest": oldest,
    "newest": newest,
    "bench": bench,
}


def call(command, cwd=ROOT):
    """The exit code of a command; an interrupt from the keyboard is the command's to handle, and so is a termination."""
    process = subprocess.Popen(command, cwd=cwd)
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def install():
    """Makes .venv what the project's files say, unless it is already."""
    wanted = wanted_stamp()
    if os.path.exists(STAMP) and os.path.exists(PYTHON):
        with open(STAMP) as stamp:
            if stamp.read() == wanted:
                return
    say("Installing what Servey needs into .venv; this takes a minute, once.")
    if not works():
        make_venv()
    pip("install", "-r", os.path.join(ROOT, "requirements.txt"))
    pip("install", "--no-deps", "--editable", ROOT)
    with open(STAMP, "w") as stamp:
        stamp.write(wanted)


def wanted_stamp():
    """What .venv depends on: this Python, the pinned requirements, the project's own file."""
    found = hashlib.sha256(repr((sys.version_info[:2], ROOT)).encode())
    for name in ("requirements.txt", "pyproject.toml"):
        with open(os.path.join(ROOT, name), "rb") as file:
            found.update(file.read())
    return found.hexdigest()


def works():
    """Whether .venv has a Python that runs, of the version that is asked for."""
    version = "%d.%d" % sys.version_info[:2]
    program = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run([PYTHON, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return found.returncode == 0 and found.stdout.decode().strip() == version


def make_venv():
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if made.returncode == 0:
        return
    if has_no_ensurepip():
        fail(
            "This Python can not make virtual environments. On Debian and Ubuntu its package for that is missing: "
            "sudo apt install python%d.%d-venv" % sys.version_info[:2]
        )
    fail("python -m venv failed:\n" + made.stdout.decode(errors="replace"))


def has_no_ensurepip():
    probe = subprocess.run(
        [sys.executable, "-c", "import ensurepip, venv"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return probe.returncode != 0


def pip(*words, python=PYTHON):
    command = [python, "-m", "pip", "--disable-pip-version-check"] + list(words)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines()[-12:]
        fail("pip could not install what is needed (is there a network?):\n  " + "\n  ".join(lines))


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    say(text)
    sys.exit(1)


def main(words):
    if sys.version_info < OLDEST:
        fail(
            "Servey needs Python %d.%d or newer and this is %d.%d; call another one, e.g.: python3.12 dev.py %s"
            % (OLDEST + sys.version_info[:2] + (" ".join(words),))
        )
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        say("There is no command '%s'; there are: %s" % (words[0], ", ".join(COMMANDS)))
        return 2
    install()
    return command(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
