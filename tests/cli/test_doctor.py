"""`servey doctor`: settings without secrets, and what may not serve."""

import pytest


def test_doctor_shows_settings_without_secrets(servey, tmp_path):
    (tmp_path / "actions.py").write_text(
        "from servey import *\n@action(access_control=ALLOW_NONE)\ndef shut() -> int:\n    return 1\n", encoding="utf-8"
    )
    code, output, errors = servey(
        tmp_path, "doctor", JWT_SECRET_KEY="a-secret-of-more-than-32-bytes-for-tests", SERVER_PORT="8001"
    )
    assert (code, errors) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line}
    assert rows["SERVER_PORT"] == ["environment", "8001"]
    assert rows["JWT_SECRET_KEY"] == ["environment", "(set)"]
    assert rows["SERVEY_HOST"] == ["default", "127.0.0.1"]
    assert "a-secret" not in output


def test_doctor_finds_what_may_not_serve(command_line, tmp_path):
    (tmp_path / "actions.py").write_text(
        "from servey import *\n@action(access_control=ALLOW_NONE)\ndef shut() -> int:\n    return 1\n", encoding="utf-8"
    )
    code, output, _ = command_line.run("doctor", cwd=tmp_path)
    assert code == 1
    assert "action 'shut' (actions.py:2): is guarded and there is no key" in output


SECRETS = {
    "SERVEY_REDIS_URL": "redis://me:hunter2@127.0.0.1:1/0",
    "SERVEY_JWKS_URL": "https://me:hun@ter2@issuer.example/keys?token=hunter2",
    "SERVEY_QUEUE_URL": "https://me:hunter2@queue.example/",
}


@pytest.mark.parametrize("command", ["doctor", "actions"])
def test_no_password_of_an_address_is_shown(command_line, tmp_path, command):
    (tmp_path / "actions.py").write_text(
        "from servey import action, FixedRateTrigger\n@action(triggers=FixedRateTrigger(5))\ndef beat() -> None: ...\n",
        encoding="utf-8",
    )
    for changes in (SECRETS, {"SERVEY_REDIS_URL": "sqs://me:hunter2@x", "SERVEY_JWKS_URL": "ftp://me:hunter2@x"}):
        _, output, errors = command_line.run(command, cwd=tmp_path, **changes)
        assert "ter2" not in output + errors
        assert "Traceback" not in errors


def test_no_content_of_a_file_is_shown(command_line, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2", encoding="utf-8")
    for name in ("SERVEY_PORT", "SERVEY_API_TITLE"):
        _, output, errors = command_line.run("doctor", cwd=tmp_path, **{f"{name}_FILE": str(secret)})
        assert "hunter2" not in output + errors, name
