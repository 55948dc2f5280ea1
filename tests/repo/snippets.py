"""Runs the snippets of a page as its reader would: files are written, programs run, commands typed, outputs compared.

A page is one project in a folder of its own. A page of the tutorial starts with the files of the pages before it.
What its blocks are:

- ``python`` whose first line is a file's name, as ``# actions.py``: that file. Any other ``python``: a program.
- ``console``: what is typed after ``$``, and what comes of it; ``...`` in an output stands for anything. A line
  ``$ NAME=$(command | tr -d '"')`` keeps the output of a command for later lines, which write it ``$NAME``.
- ``text`` is only read.

Before a block, ``<!-- file: NAME -->`` says that it is that file, and ``<!-- not run: REASON -->`` that it is only read.
"""

import contextlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.serving import CommandLine, Server, free_port, run, started

BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]+?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"python", "console", "text"}
ASSIGNMENT = re.compile(r"[A-Z_]+=")
KEPT = re.compile(r"([A-Z]+)=\$\((.+) \| tr -d '\"'\)")
# Files change too fast for the times that bytecode is kept by.
NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    kind: str
    text: str
    mark: str

    @property
    def file_name(self) -> str | None:
        """The file that it is, if it is one."""
        if self.mark.startswith("file: "):
            return self.mark.removeprefix("file: ")
        named = re.match(r"# ([\w/]+\.py)\n", self.text)
        return named[1] if named and self.kind == "python" else None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page.name, text.count("\n", 0, each.start("text")), each["kind"], each["text"], each["mark"] or "")
        for each in BLOCK.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)), f"{page.name}: a block is not closed"
    for block in found:
        assert block.kind in KINDS, f"{block.page}:{block.line}: use one of {KINDS}, not '{block.kind}'"
    return found


def commands_of(block: Block) -> list[tuple[str, str]]:
    """What is typed in a console block, each with the output that the page shows."""
    assert block.text.startswith("$ "), f"{block.page}:{block.line}: begin with '$ '"
    found = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        typed, shown = re.fullmatch(r"((?:.*\\\n)*.*)\n((?:.*\n)*)", part).groups()
        found.append((typed.replace("\\\n", " "), shown))
    return found


def fits(shown: str, got: str) -> bool:
    """Whether an output is what the page shows; ``...`` stands for anything, and spaces at line ends for nothing."""
    clean = "\n".join(line.rstrip() for line in got.rstrip().splitlines())
    pattern = re.escape(shown.rstrip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, clean, re.DOTALL) is not None


class Project:
    """The folder that a page's snippets make, and the server that its reader has started."""

    def __init__(self, folder: Path, processes: CommandLine) -> None:
        self.folder = folder
        self._processes = processes
        self.last_code = 0
        self._kept: dict[str, str] = {}
        self._served: tuple[list[str], dict[str, str]] | None = None
        self._server: Server | None = None
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        self._stack.close()
        self._server = None

    def write(self, block: Block) -> Path | None:
        """Writes the file that a block is, if it is one."""
        if block.file_name is None or block.mark.startswith("not run: "):
            return None
        path = self.folder / block.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return path

    def play(self, block: Block) -> None:
        """Does with a block what its reader does."""
        where = f"{block.page}:{block.line}"
        if block.mark.startswith("not run: "):
            return
        if block.file_name is not None:
            self.close()  # the next request starts the server anew, as reload would
            path = self.write(block)
            if path is not None and path.name == "actions.py":
                code, _, errors = self._processes.run("actions", cwd=self.folder)
                assert code == 0, f"{where}: {errors}"
        elif block.kind == "python":
            done = run("-W", "error", "-c", block.text, cwd=self.folder, **NO_BYTECODE)
            assert done.returncode == 0, f"{where}: {done.stderr}"
        elif block.kind == "console":
            for typed, shown in commands_of(block):
                if typed != "echo $?":
                    self.last_code = 0
                got = self.type(typed)
                failed = typed != "echo $?" and self.last_code != 0 and shown.strip() in ("", "...")
                assert not failed, f"{where}: $ {typed} failed, which the page does not say\n{got}"
                assert fits(shown, got), f"{where}: $ {typed}\nshown:\n{shown}\ncame:\n{got}"

    def type(self, line: str) -> str:
        """What comes of a line that is typed at the prompt."""
        kept = KEPT.fullmatch(line)
        if kept is not None:
            self._kept[kept[1]] = self.type(kept[2]).replace('"', "").strip()
            return ""
        for name, value in self._kept.items():
            line = line.replace(f"${name}", value)
        words = shlex.split(line)
        env = {}
        while ASSIGNMENT.match(words[0]):
            name, _, env[name] = words.pop(0).partition("=")
        if words[:3] == ["python", "-m", "servey"]:
            words = ["servey", *(words[3:] or ["dev"])]
        program, *words = words
        if program == "servey" and words[:1] == ["dev"]:
            output = self.serve(["-m", "servey", *words], env)
        elif program == "uvicorn":
            output = self.serve(["-m", "uvicorn", *words], env)
        elif program == "servey":
            self.last_code, output, errors = self._processes.run(*words, cwd=self.folder, **env)
            output += errors
        elif program == "curl":
            output = self.curl(words)
        elif program == "python":
            if self._server is not None:
                words = [word.replace(":8000", f":{self._server.port}") for word in words]
            done = run(*words, cwd=self.folder, **NO_BYTECODE, **env)
            self.last_code, output = done.returncode, done.stdout + done.stderr
        elif program == "rm":
            self.close()
            assert len(words) == 1, f"'{line}' may remove one file only"
            assert Path(words[0]).name == words[0], f"'{line}' must not remove what is elsewhere"
            (self.folder / words[0]).unlink()
            output = ""
        elif program == "cd":
            self.folder, output = self.folder / words[0], ""
        elif line == "echo $?":
            output = str(self.last_code)
        else:
            raise AssertionError(f"no one here knows how to run '{line}'; mark the block as not run")
        return output

    def serve(self, words: list[str], env: dict[str, str]) -> str:
        """Starts `python WORDS`, a server; gives what it prints first."""
        self.close()
        port = free_port()
        command = [*words, "--port", str(port)]
        self._served = words, env
        self._server = self._stack.enter_context(started(command, port, cwd=self.folder, **NO_BYTECODE, **env))
        printed = self._server.log.read_text(encoding="utf-8").replace(str(port), "8000").splitlines(keepends=True)
        return "".join(line for line in printed if not line.startswith("INFO:"))

    def curl(self, words: list[str]) -> str:
        """What curl prints of a request to the server that the page has started."""
        assert self._served is not None, "start a server first: $ servey dev"
        if self._server is None:
            self.serve(*self._served)
        assert self._server is not None
        request = _request_of(words, self.folder)
        shows_head = request.pop("shows_head")
        request["url"] = request["url"].replace(":8000", f":{self._server.port}")
        answer = httpx.request(**request)
        head = "".join(f"{name.decode()}: {value.decode()}\n" for name, value in answer.headers.raw)
        text = f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\n{head}\n" if shows_head else ""
        return (text + answer.text).replace(f":{self._server.port}", ":8000")


def _request_of(words: list[str], folder: Path) -> dict:
    """A request as curl's options say it."""
    method, headers, request, files, fields = None, {"Accept": "*/*"}, {"shows_head": False}, {}, {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-s", "-N"):
            pass
        elif word in ("-i", "-I"):
            request["shows_head"] = True
            method = "HEAD" if word == "-I" else method
        elif word == "-X":
            method = rest.pop(0)
        elif word == "-H":
            name, _, value = rest.pop(0).partition(": ")
            headers[name] = value
        elif word in ("-d", "--json"):
            request["content"] = rest.pop(0)
            kind = "application/json" if word == "--json" else "application/x-www-form-urlencoded"
            headers = {"Content-Type": kind, **headers}
            method = method or "POST"
        elif word == "-F":
            name, _, value = rest.pop(0).partition("=")
            if value.startswith("@"):
                files[name] = (value[1:], (folder / value[1:]).read_bytes())
            else:
                fields[name] = value
            method = method or "POST"
        elif word.startswith("-"):
            raise AssertionError(f"curl's option {word} is not known here")
        else:
            request["url"] = word if "://" in word else f"http://{word}"
    if files:
        request |= {"files": files, "data": fields}
    return {**request, "method": method or "GET", "headers": headers}
