"""The files of the cluster, as far as they can be checked without an engine."""

import http.server
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cluster.front import front_configuration, nginx
from tests.serving import ROOT, environment, free_port, started, wait_for_port

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
ENTRANCES = ("nginx", "nginx2")
LASTING = [name for name in SERVICES if name != "secrets"]


def test_the_dockerfile_passes_its_linter():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "docker" / "Dockerfile"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (0, "")


def nginx_configuration(folder):
    """Return the configuration with files in a folder."""
    (folder / "mime.types").write_text("types { text/html html; }\n", encoding="utf-8")
    for name in ("real_ip.conf", "hops.conf"):  # the container's command writes them
        (folder / name).touch()
    text = (ROOT / "docker" / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    return text.replace("/tmp/", f"{folder}/").replace("/etc/nginx/mime.types", str(folder / "mime.types"))


@pytest.mark.parametrize("name", ["nginx.conf", "front.conf"])
def test_nginx_takes_its_configuration(tmp_path, name):
    text = nginx_configuration(tmp_path) if name == "nginx.conf" else front_configuration(tmp_path, 8443, [8080, 8081])
    (tmp_path / "nginx.conf").write_text(text, encoding="utf-8")
    command = [nginx(), "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert "syntax is ok" in done.stderr, done.stderr
    assert "emerg" not in done.stderr, done.stderr
    assert "warn" not in done.stderr, done.stderr


def test_nginx_includes_files_by_their_names():
    """Not every version of nginx takes a mask within `geo`."""
    text = (ROOT / "docker" / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    assert re.findall(r"include \S*[*?]", text) == []


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what the app would see of the caller."""

    def log_message(self, *args): ...

    def do_GET(self):
        body = f"{self.headers['X-Forwarded-For']} {self.headers['X-Forwarded-Proto']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def entrance(folder, app_port, hops=""):
    """Run nginx by the command of its container, with the paths and ports of a test; yield its URL."""
    port = free_port()
    text = nginx_configuration(folder).replace("listen 8080;", f"listen 127.0.0.1:{port};")
    text = text.replace("server web:8000 resolve", f"server 127.0.0.1:{app_port}").replace("/dev/stdout lines", "off")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    for name in ("real_ip.conf", "hops.conf"):
        (folder / name).unlink()
    *_, script = SERVICES["nginx"]["command"]
    start = f"exec {nginx()} -p {folder} -c {folder / 'nginx.conf'} -e {folder / 'error.log'}"
    script = script.replace("$$", "$").replace("/tmp/", f"{folder}/").replace("exec nginx", start)
    process = subprocess.Popen(["sh", "-c", script], env={"TRUSTED_HOPS": hops, "PATH": os.environ["PATH"]})
    try:
        wait_for_port(port, process, folder / "error.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def app(handler):
    """Run a server of a handler in a thread; yield its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("hops", "seen"),
    [("127.0.0.1,10.0.0.0/8", "9.9.9.9 https"), ("10.0.0.0/8", "127.0.0.1 http"), ("", "127.0.0.1 http")],
)
def test_nginx_keeps_what_a_trusted_proxy_says_of_the_caller(tmp_path, hops, seen):
    headers = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9, 10.1.1.1", "X-Forwarded-Proto": "https"}
    with app(Echo) as port, entrance(tmp_path, port, hops) as url:
        assert httpx.get(f"{url}/", headers=headers, timeout=10).text == seen


def test_nginx_does_not_send_a_request_again_that_may_have_arrived(tmp_path):
    arrived = []

    class Breaks(Echo):
        def do_POST(self):
            arrived.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.close_connection = True  # without an answer

    with app(Breaks) as port, entrance(tmp_path, port) as url:
        assert httpx.post(f"{url}/actions/pay", content=b"10", timeout=10).status_code == 502
    assert arrived == [b"10"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_do_more_than_it_has_to(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    if name in LASTING:
        assert service["init"] is True
        assert service["restart"] == "always"
        assert service["mem_limit"]
        assert service["pids_limit"]


def test_only_nginx_is_reached_from_outside_and_only_from_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["nginx", "nginx2"]
    assert all(
        re.match(r"\$\{HTTP_ADDRESS(_2)?:-127\.0\.0\.1\}:", port) for name in published for port in published[name]
    )


def test_the_second_entrance_is_like_the_first():
    own = {"ports", "profiles"}
    first, second = ({key: value for key, value in SERVICES[name].items() if key not in own} for name in ENTRANCES)
    assert second == first
    assert SERVICES["nginx2"]["profiles"] == ["two-entrances"]


def test_no_secret_stands_in_the_file():
    for name, service in SERVICES.items():
        for key, value in (service.get("environment") or {}).items():
            assert not re.search("PASSWORD|SECRET|KEY", key) or key.endswith("_FILE"), (name, key, value)


def test_a_container_gets_longer_to_end_than_the_app_needs():
    from servey import Settings

    settings = Settings()
    for name in ("web", "worker"):
        seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert seconds > settings.drain + settings.grace + settings.job_grace, name


def test_every_setting_in_the_file_is_one():
    from servey.core.settings import Settings
    from servey.core.settings.sources import names_of

    known = {each for name, field in Settings.model_fields.items() for each in names_of(name, field)}
    apps = [service for name, service in SERVICES.items() if name not in ENTRANCES]
    used = {key.removesuffix("_FILE") for service in apps for key in service.get("environment") or {}}
    assert used <= known


def health(port, name="SERVEY_PORT"):
    command = [sys.executable, "-I", "-S", str(ROOT / "docker" / "healthcheck.py")]
    env = {**os.environ, name: str(port)}
    return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=10, check=False)


def test_the_health_check(tmp_path):
    (tmp_path / "actions.py").write_text("", encoding="utf-8")
    port = free_port()
    assert "does not answer" in health(port).stderr
    with started(["-m", "servey", "run", "--port", str(port)], port, cwd=tmp_path):
        assert health(port).returncode == 0
        assert health(port, "SERVEY_WORKER_PORT").returncode == 0


def test_secrets_are_made_once(tmp_path):
    command = [sys.executable, str(ROOT / "docker" / "make_secrets.py"), str(tmp_path), "one", "two"]
    subprocess.run(command, env=environment(), capture_output=True, check=True)
    first = (tmp_path / "one").read_text(encoding="utf-8")
    assert len(first) == 64
    assert first != (tmp_path / "two").read_text(encoding="utf-8")
    (tmp_path / "two").unlink()
    subprocess.run(command, env=environment(), capture_output=True, check=True)
    assert (tmp_path / "one").read_text(encoding="utf-8") == first
    assert len((tmp_path / "two").read_text(encoding="utf-8")) == 64
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("wrong", ["an empty file", "a folder in its place"])
def test_secrets_that_cannot_be_used_are_one_clear_line(tmp_path, wrong):
    (tmp_path / "one").mkdir() if wrong.startswith("a folder") else (tmp_path / "one").touch()
    command = [sys.executable, str(ROOT / "docker" / "make_secrets.py"), str(tmp_path), "one", "two"]
    done = subprocess.run(command, env=environment(), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: one in the folder of SECRETS ")
    assert len(done.stderr.splitlines()) == 1


def test_the_script_for_upgrades_is_executable_and_parses():
    script = ROOT / "docker" / "upgrade.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)
