"""Build the site of the documentation in .site/site, or serve it: python -m website [--serve] [--port N] [--write].

The pages stay where readers of a clone look for them: the README, docs, examples. A build copies all of them into one
folder with the same layout, so that their relative links work in a clone and on the site alike.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from website import reference

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / ".site"
PAGES = ["*.md", "docs/**/*.md", "examples/*/README.md", "benchmarks/*.md"]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[\w-]*)?\)")
COLOR = re.compile(r"\x1b\[[\d;]*m")


def pages() -> list[Path]:
    """Every page of the site, relative to the root of the clone."""
    return sorted(path.relative_to(ROOT) for pattern in PAGES for path in ROOT.glob(pattern))


def files_linked_from(page: Path) -> set[Path]:
    """The files that a page links to, other than pages: pictures, source code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = {(ROOT / page.parent / target).resolve() for target in LINK.findall(text)}
    return {path.relative_to(ROOT) for path in targets if path.is_file() and path.suffix != ".md"}


def copy_pages() -> None:
    """Copy what has changed of the pages, the files that they link to, and the configuration into .site."""
    wanted = {SITE / "zensical.toml": ROOT / "website" / "zensical.toml"}
    for page in pages():
        wanted |= {SITE / "pages" / path: ROOT / path for path in {page, *files_linked_from(page)}}
    for old in [path for path in SITE.glob("pages/**/*") if path.is_file() and path not in wanted]:
        old.unlink()
    for place, source in wanted.items():
        if not place.exists() or place.read_bytes() != source.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)


def build() -> int:
    """Build the site, strictly: a warning is an error. Return the exit code."""
    shutil.rmtree(SITE / "site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=SITE, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        print(short(done.stdout + done.stderr))
        return 1
    print(f"{len(list((SITE / 'site').rglob('*.html')))} pages in {os.path.relpath(SITE / 'site')}, without warnings")
    return 0


def short(report: str) -> str:
    """Zensical's report of problems without its colors and drawings."""
    lines = [line.rstrip()[:300] for line in COLOR.sub("", report).splitlines()]
    return "\n".join(line for line in lines if re.search(r"Warning|Error|╭─\[|^ *\d+ │", line))


def serve(port: int) -> int:
    """Serve the site until Ctrl-C; a page that changes is built again."""
    import watchfiles

    command = [sys.executable, "-m", "zensical", "serve", "--dev-addr", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, cwd=SITE)
    folders = ("docs", "examples", "benchmarks", "website")
    watched = [*(ROOT / name for name in folders), *ROOT.glob("*.md")]
    try:
        for _ in watchfiles.watch(*watched, raise_interrupt=False, yield_on_timeout=True, rust_timeout=500):
            if server.poll() is not None:
                break
            copy_pages()
    finally:
        server.terminate()
    return server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 dev.py docs", description="Build the site of the documentation.")
    parser.add_argument("--serve", action="store_true", help="serve it, and build again when a page changes")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument(
        "--write", action="store_true", help="first write what is generated from the code into its pages"
    )
    words = parser.parse_args()
    if words.write:
        reference.write()
    copy_pages()
    return serve(words.port) if words.serve else build()


if __name__ == "__main__":
    sys.exit(main())
