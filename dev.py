#!/usr/bin/env python3
"""Run, test and check Servey from a clone. Needs Python 3.11 or newer and nothing else.

    python3 dev.py run        serve the tour of examples, with reload, on http://127.0.0.1:8000
    python3 dev.py test       the fast tests, with coverage, in random order
    python3 dev.py lint       ruff: rules and format
    python3 dev.py types      mypy (strict) and pyright; typing_tests; every public name has a type
    python3 dev.py docs       the site of the docs without warnings, then their snippets; "docs --serve" serves the site
    python3 dev.py slow       the slow tests
    python3 dev.py drill      tests that take many minutes: a soak test, tens of thousands of generated requests
    python3 dev.py browser    the tests in a browser (Debian: chromium); "browser images" also takes the docs' pictures
    python3 dev.py oldest     the tests that depend on other packages' versions, on the oldest supported versions
    python3 dev.py newest     the same tests on the newest versions
    python3 dev.py bench      the benchmarks: bench [graphql|fanout|jobs|mcp|curves|compare] [--quick] [--write]
    python3 dev.py changelog  for a release: changelog VERSION moves the files of changelog.d into CHANGELOG.md

Each command installs what it needs into .venv beside this file, the first time and after the requirements change.
`run` needs requirements.txt; the other commands need requirements-dev.txt, which includes it. Words after the command
are passed on, e.g.: python3 dev.py test tests/cli -k call
"""

# An old Python 3 must be able to parse this file, so that it can report that it is too old.
import collections
import glob
import hashlib
import io
import os
import queue
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
REQUIREMENTS = {"run": ("requirements.txt",), "dev": ("requirements-dev.txt", "requirements.txt")}
OLDEST = (3, 11)
SHIFTING = ("fastapi", "starlette", "pydantic", "strawberry-graphql")
TUTORIAL = "tests/examples/test_tutorial.py::test_the_pages_run_from_the_first_to_the_last"
FAST = "not slow and not drill and not docs and not browser"
VERSIONED = [
    "tests/contract/test_contract.py",
    "tests/calls/test_dependencies.py",
    "tests/calls/test_injected_access.py",
] + [
    "tests/%s/test_%s.py" % (folder, name)
    for folder, names in (
        (
            "routers",
            "twins parsing handlers openapi guards types queries rest request_bodies errors dispatch linked_types",
        ),
        ("graphql", "types fields inputs errors batches object_types"),
    )
    for name in names.split()
]


def run(words):
    """Serve the tour of examples, with reload."""
    return call([PYTHON, "-m", "servey", "dev"] + words, cwd=os.path.join(ROOT, "examples", "tour"))


def test(words):
    """The fast tests in random order, with the coverage of the package."""
    os.environ["PYTHONWARNDEFAULTENCODING"] = "1"  # a file that is opened without an encoding fails the test
    words = with_seed(words)
    whole = len(words) == 1
    tiers = [] if "-m" in words else ["-m", FAST]
    side_by_side = ["-q", "-n", "2", "--dist", "loadfile"] if whole else []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKIPPED_TESTS_FILE"] = skipped = os.path.join(folder, "skipped.txt")
        code = call([PYTHON, "-m", "coverage", "run", "-m", "pytest"] + side_by_side + tiers + words)
        if code == 0 and whole:
            subprocess.call([PYTHON, "-m", "coverage", "combine", "--quiet"], cwd=ROOT)
            code = call([PYTHON, "-m", "coverage", "report"])
        if read(skipped):
            print("Not run: " + "; ".join(read(skipped).splitlines()), flush=True)
    return code


def with_seed(words):
    """The words with a seed for the order of the tests, which is printed."""
    if not any(word.startswith("--randomly-seed") for word in words):
        words = words + ["--randomly-seed=%d" % random.randrange(10**6)]
    seed = next(word for word in words if word.startswith("--randomly-seed"))
    say("The tests run in random order. To repeat this order, add: " + seed)
    return words


def slow(words):
    """The slow tests."""
    return call([PYTHON, "-m", "pytest", "-q", "-p", "no:randomly", "-m", "slow and not drill"] + words)


def drill(words):
    """The tests that take many minutes."""
    return call([PYTHON, "-m", "pytest", "-q", "-p", "no:randomly", "-m", "drill"] + words)


def lint(words):
    """ruff's rules, then its format."""
    return call([PYTHON, "-m", "ruff", "check"] + (words or ["."])) or call(
        [PYTHON, "-m", "ruff", "format", "--check"] + (words or ["."])
    )


def types(words):
    """mypy in strict mode and pyright, the expectations in typing_tests, and that every public name has a type."""
    return (
        call([PYTHON, "-m", "mypy"] + words)
        or call([PYTHON, "-m", "pyright", "--pythonpath", PYTHON] + words)
        or call([PYTHON, os.path.join("typing_tests", "check.py")])
    )


def docs(words):
    """The site of the docs, then their snippets; --serve and --write serve the site, write what is generated."""
    if {"--serve", "--write"} & set(words):
        return call([PYTHON, "-m", "website"] + words)
    return call([PYTHON, "-m", "website"]) or call(
        [PYTHON, "-m", "pytest", "-q", "-n", "2", "tests/repo/test_docs.py", TUTORIAL] + words
    )


def browser(words):
    """The tests that drive a browser."""
    if words[:1] == ["images"]:
        os.environ["TAKE_SCREENSHOTS"] = "1"
        words = words[1:]
    return call([PYTHON, "-m", "pytest", "-p", "no:randomly", "tests/browser", "-m", "browser and not drill"] + words)


def oldest(words):
    """The tests that depend on versions, on the oldest versions that pyproject.toml allows."""
    return versions("oldest", ["%s==%s" % (name, floor_of(name)) for name in SHIFTING], words)


def newest(words):
    """The same tests on the newest versions that pip finds."""
    return versions("newest", ["--upgrade"] + list(SHIFTING), words)


def versions(name, wanted, words):
    """Tests with other versions of a few packages, in a small virtual environment that adds them to .venv."""
    home = VENV + "-" + name
    python = os.path.join(home, os.path.relpath(PYTHON, VENV))
    if name == "newest" or read(os.path.join(home, "installed.txt")) != wanted_stamp("dev"):
        say("Installing the %s versions of %s." % (name, ", ".join(SHIFTING)))
        subprocess.check_call([PYTHON, "-m", "venv", "--clear", home])
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own, below = (
            subprocess.check_output([each, "-c", where], cwd=ROOT).decode().strip() for each in (python, PYTHON)
        )
        write(os.path.join(own, "below.pth"), "import site; site.addsitedir(%r)\n" % below)
        pip("install", *wanted, python=python)
        write(os.path.join(home, "installed.txt"), wanted_stamp("dev"))
    found = versions_in(python)
    print(found, flush=True)
    if name == "newest" and found == versions_in(PYTHON) and not words:
        print("The other tests run on these versions; there is nothing more to test.", flush=True)
        return 0
    # The oldest Starlette uses a name of anyio's that is deprecated now.
    known = "ignore:The anyio.abc.BlockingPortal alias is deprecated:DeprecationWarning"
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", known]
    if words:
        return call(pytest + words)
    # `slow` runs the slow tests on the versions of requirements.txt, which are nearly the newest.
    tier = "not drill" if name == "oldest" else "not slow and not drill"
    return call(pytest + ["-m", tier, "tests/differential"]) or call(
        pytest + ["-n", "2", "--dist", "loadfile", "-m", FAST] + VERSIONED
    )


def versions_in(python):
    """The versions of the packages in SHIFTING, as text."""
    program = "import importlib.metadata as m; print(*('%%s %%s' %% (n, m.version(n)) for n in %r), sep=', ')"
    return subprocess.check_output([python, "-c", program % (SHIFTING,)], cwd=ROOT).decode().strip()


def floor_of(name):
    """The oldest version of a package that pyproject.toml allows."""
    return re.search(r'"%s>=([0-9.]+)' % re.escape(name), read(os.path.join(ROOT, "pyproject.toml"))).group(1)


def read(path):
    """A file's text, or "" if there is no such file."""
    if not os.path.exists(path):
        return ""
    with io.open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    with io.open(path, "w", encoding="utf-8") as file:
        file.write(text)


def bench(words):
    """The benchmarks of requests, or those named. Their peers are installed into .venv-peers."""
    home = VENV + "-peers"
    pins = read(os.path.join(ROOT, "benchmarks", "peers", "requirements.txt"))
    if read(os.path.join(home, "installed.txt")) != pins:
        say("Installing the peers of the benchmarks into .venv-peers; this takes a minute, once.")
        subprocess.check_call([PYTHON, "-m", "venv", "--clear", home])
        python = os.path.join(home, os.path.relpath(PYTHON, VENV))
        pip("install", "-r", os.path.join(ROOT, "benchmarks", "peers", "requirements.txt"), python=python)
        write(os.path.join(home, "installed.txt"), pins)
    named = words[:1] if words and os.path.exists(os.path.join(ROOT, "benchmarks", words[0] + ".py")) else []
    return call([PYTHON, "-m", ".".join(["benchmarks"] + named)] + words[len(named) :])


def changelog(words):
    """Move the files of changelog.d into a section of CHANGELOG.md for a version, or print the section."""
    sections = {}
    paths = sorted(glob.glob(os.path.join(ROOT, "changelog.d", "*.md")))
    for path in paths:
        kind, _, text = read(path).partition("\n")
        sections.setdefault(kind, []).append("- " + " ".join(text.split()))
    body = "".join(
        "\n### %s\n\n%s\n" % (kind, "\n".join(sections[kind])) for kind in KINDS_OF_CHANGE if kind in sections
    )
    if not words:
        print(body.strip("\n"))
        return 0
    place = os.path.join(ROOT, "CHANGELOG.md")
    head = "## [Unreleased]\n"
    old = read(place)
    if not re.match(r"\d+\.\d+\.\d+\w*$", words[0]) or head not in old:
        fail("Name the version, e.g.: python3 dev.py changelog 6.1.0; CHANGELOG.md needs the line '%s'." % head.strip())
    release = "%s\n## [%s] - %s\n%s" % (head, words[0], time.strftime("%Y-%m-%d"), body)
    write(place, old.replace(head, release, 1))
    for path in paths:
        os.remove(path)
    return 0


KINDS_OF_CHANGE = ("Added", "Changed", "Fixed", "Security")
LISTED = (run, test, lint, types, docs, slow, drill, browser, oldest, newest, bench, changelog)
COMMANDS = {each.__name__: each for each in LISTED}


def call(command, cwd=ROOT):
    """The exit code of a command. Ctrl-C and SIGTERM are left to the command."""
    process = subprocess.Popen(command, cwd=cwd)
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def install(kind):
    """Install the requirements of a kind ("run" or "dev") into .venv, unless that is done already."""
    if os.path.exists(PYTHON) and (is_installed(kind) or is_installed("dev")):
        return
    first = REQUIREMENTS[kind][0]
    say("Installing %s into .venv, once; this takes about a minute." % first)
    if not works():
        make_venv()
    lines = (line for name in REQUIREMENTS[kind] for line in read(os.path.join(ROOT, name)).split("\n"))
    pip("install", "-r", os.path.join(ROOT, first), total=sum(line[:1].isalnum() for line in lines))
    pip("install", "--no-deps", "--editable", ROOT)
    write(stamp_of(kind), wanted_stamp(kind))


def is_installed(kind):
    return read(stamp_of(kind)) == wanted_stamp(kind)


def stamp_of(kind):
    return os.path.join(VENV, "installed-%s.txt" % kind)


def wanted_stamp(kind):
    """A hash of what .venv depends on: this Python, the pinned requirements, the project's own file."""
    found = hashlib.sha256(repr((sys.version_info[:2], ROOT)).encode())
    for name in REQUIREMENTS[kind] + ("pyproject.toml",):
        with open(os.path.join(ROOT, name), "rb") as file:
            found.update(file.read())
    return found.hexdigest()


def works():
    """Whether .venv has a Python that runs and has the version of this one."""
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
            "This Python cannot make virtual environments. On Debian and Ubuntu they are a package of their own: "
            "sudo apt install python%d.%d-venv" % sys.version_info[:2]
        )
    fail("python -m venv failed:\n" + made.stdout.decode(errors="replace"))


def has_no_ensurepip():
    return subprocess.call([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0


def pip(*words, python=PYTHON, total=0):
    """Run pip and show which package it works on."""
    command = [python, "-u", "-m", "pip", "--disable-pip-version-check"] + list(words)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = queue.Queue()
    threading.Thread(
        target=lambda: [lines.put(line) for line in iter(process.stdout.readline, b"")], daemon=True
    ).start()
    site = os.path.join(os.path.dirname(os.path.dirname(python)), "lib", "*", "site-packages", "*.dist-info")
    last = collections.deque(maxlen=12)
    progress = Progress(total)
    found, installing = 0, 0
    while process.poll() is None or not lines.empty():
        try:
            line = lines.get(timeout=0.5).decode(errors="replace").strip()
        except queue.Empty:
            if installing and total:
                progress.show(max(0, len(glob.glob(site)) - installing), "installed", "")
            continue
        last.append(line)
        named = re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.\[\]-]+)", line)
        if named:
            found += 1
            progress.show(found, "found", named.group(1))
        elif line.startswith("Installing collected packages"):
            installing = len(glob.glob(site)) or 1
    progress.end()
    if process.returncode != 0:
        fail("pip could not install the requirements (is there a network?):\n  " + "\n  ".join(last))


class Progress:
    """One line that is rewritten on a terminal; elsewhere a new line every few seconds."""

    def __init__(self, total):
        self.total, self.rewrites, self.text, self.shown = total, sys.stderr.isatty(), "", 0.0

    def show(self, count, verb, name):
        number = "%d of %d" % (min(count, self.total), self.total) if self.total else str(count)
        text = "  %s packages %s %s" % (number, verb, name)
        if self.rewrites:
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()
        elif time.time() > self.shown + (5 if text != self.text else 20):
            say(text.rstrip())
        else:
            return
        self.text, self.shown = text, time.time()

    def end(self):
        if self.rewrites and self.shown:
            sys.stderr.write("\r\033[K")


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    say(text)
    sys.exit(1)


def main(words):
    if sys.version_info < OLDEST:
        fail(
            "Servey needs Python %d.%d or newer and this is %d.%d; use a newer one, e.g.: python3.12 dev.py %s"
            % (OLDEST + sys.version_info[:2] + (" ".join(words),))
        )
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        say("There is no command '%s'; there are: %s" % (words[0], ", ".join(COMMANDS)))
        return 2
    if command is not changelog:
        install("run" if command is run else "dev")
    return command(words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
