"""What `servey dev` shows on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.serving import DEADLINE_SECONDS, environment, free_port

ACTIONS = "from servey import *\n\n@action(triggers=WEB_GET)\nasync def version() -> int:\n    return 1\n"


def shown(project, port, **env):
    """What a start prints on a terminal until it serves."""
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "servey", "dev", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=project, env=environment(**env), stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    text, end = "", time.monotonic() + DEADLINE_SECONDS
    try:
        while "startup complete" not in text:
            assert time.monotonic() < end, text
            if select.select([ours], [], [], 0.1)[0]:
                text += os.read(ours, 65536).decode()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        os.close(ours)
    return text.replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("no_color", ["", "1"])
def test_it_says_where_it_serves_how_to_log_in_and_what_it_has_loaded(tmp_path, no_color):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    port = free_port()
    text = shown(tmp_path, port, NO_COLOR=no_color)
    assert ("\x1b[" in text) == (no_color == "")
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert re.search(r"^Log in as 'root' with the password '[\w-]+'\.$", plain, re.MULTILINE)
    assert f"Serving on http://127.0.0.1:{port}/docs (Ctrl-C ends it)\n" in plain
    assert f"The console is at http://127.0.0.1:{port}/_servey\n" in plain
    assert "\nLoaded 1 action\n" in plain
