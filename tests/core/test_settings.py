"""Settings by environment, by file, and what is wrong with them."""

import pytest

from servey import ConfigError, Settings


def problems(**values):
    with pytest.raises(ConfigError) as caught:
        Settings(**values)
    return caught.value.problems


@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "SERVEY_JWT_SECRET_KEY"])
def test_a_secret_may_come_in_a_file(tmp_path, monkeypatch, name):
    (tmp_path / "secret").write_text("from a file\n", encoding="utf-8")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert Settings().jwt_secret_key == "from a file"
    assert Settings(jwt_secret_key="from code").jwt_secret_key == "from code"


def test_every_setting_may_come_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "port").write_text("9000", encoding="utf-8")
    (tmp_path / "proxies").write_text("10.0.0.0/8, 127.0.0.1", encoding="utf-8")
    monkeypatch.setenv("SERVEY_PORT_FILE", str(tmp_path / "port"))
    monkeypatch.setenv("SERVEY_TRUSTED_PROXIES_FILE", str(tmp_path / "proxies"))
    assert Settings().port == 9000
    assert Settings().trusted_proxies == ("10.0.0.0/8", "127.0.0.1")


def test_a_file_that_can_not_be_read(monkeypatch, tmp_path):
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "nowhere"))
    assert problems() == (f"setting REDIS_URL_FILE: {tmp_path / 'nowhere'} cannot be read: No such file or directory",)


def test_a_file_and_a_value_is_one_too_many(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("one", encoding="utf-8")
    monkeypatch.setenv("JWT_SECRET_KEY", "another")
    monkeypatch.setenv("SERVEY_JWT_SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert problems() == ("setting JWT_SECRET_KEY: SERVEY_JWT_SECRET_KEY_FILE is set too; keep one of them",)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("redis://redis", "redis://:p%40ss%2Fw@redis"),
        ("rediss://redis:6380/2", "rediss://:p%40ss%2Fw@redis:6380/2"),
        ("redis://servey@redis:6379/0", "redis://servey:p%40ss%2Fw@redis:6379/0"),
        ("redis://:own@redis", "redis://:own@redis"),
        ("redis://[::1]:7000/1", "redis://:p%40ss%2Fw@[::1]:7000/1"),
    ],
)
def test_the_password_of_redis_goes_into_its_address(url, whole):
    assert Settings(redis_url=url, redis_password="p@ss/w").redis_url == whole


@pytest.mark.parametrize(
    "url", ["redis", "http://redis", "redis://", "redis://host:port", "redis://host/db", "redis://h:99999"]
)
def test_an_address_of_redis_that_is_none(url, monkeypatch):
    told = problems(redis_url=url)
    assert told == (
        "setting SERVEY_REDIS_URL: Value error, "
        "write it as redis://[[user]:password@]host[:port][/database], with rediss:// for TLS",
    )


def test_no_secret_is_shown_in_a_problem(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://:CANARY@host/database")
    assert "CANARY" not in "".join(problems())
    assert "CANARY" not in repr(Settings(redis_url="redis://:CANARY@host", redis_password="CANARY"))


@pytest.mark.parametrize(
    ("folder", "pyproject", "name"),
    [
        ("billing", None, "billing"),
        ("app", '[project]\nname = "mailing"\n', "mailing"),
        ("app", "[tool.x]\ny = 1\n", "app"),
        ("app", "not = [toml", "app"),
        ("app", "project = 5\n", "app"),
        ("my {app} äö", None, "my-app"),
        ("...", None, "servey"),
    ],
)
def test_the_namespace_is_by_default_the_projects_name(tmp_path, monkeypatch, folder, pyproject, name):
    (tmp_path / folder).mkdir()
    if pyproject is not None:
        (tmp_path / folder / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    monkeypatch.chdir(tmp_path / folder)
    assert Settings().namespace == name
    assert Settings().redis_prefix == f"{{{name}}}:"
    assert Settings(namespace="other").namespace == "other"


@pytest.mark.parametrize("name", ["a b", "{x}", "a:b", "-", "x" * 64])
def test_a_namespace_that_can_not_be(name):
    assert problems(namespace=name)[0].startswith("setting SERVEY_NAMESPACE: ")
