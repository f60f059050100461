"""A real MQTT broker for tests, in a process of its own that can be killed and started again on the same port."""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pwdlib import PasswordHash

_PATIENCE_S = 60.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningBroker:
    """A broker that listens on loopback; use it as a context manager.

    Args:
        folder: Where its files lie.
        users: Who may connect, with their passwords; empty for anybody.
        tls: Whether it speaks TLS, with the certificate in ``certificate``.
    """

    def __init__(self, folder: Path, users: Sequence[tuple[str, str]] = (), *, tls: bool = False) -> None:
        self.port = free_port()
        self.certificate = folder / "broker.pem"
        self._arguments: list[str] = [str(self.port)]
        if users:
            passwords = folder / "passwords"
            lines = [f"{name}:{PasswordHash.recommended().hash(word)}\n" for name, word in users]
            passwords.write_text("".join(lines))
            self._arguments += ["--passwords", str(passwords)]
        if tls:
            key = folder / "broker.key"
            _write_certificate(self.certificate, key)
            self._arguments += ["--certificate", str(self.certificate), "--key", str(key)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self._process.returncode}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("the broker does not listen")

    def kill(self) -> None:
        """End it at once (SIGKILL): nothing is said to clients, nothing is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> "RunningBroker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _write_certificate(certificate: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def _serve(port: int, passwords: str | None, certificate: str | None, key: str | None) -> None:
    from amqtt.broker import Broker

    listener: dict[str, object] = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    if certificate is not None:
        listener |= {"ssl": True, "certfile": certificate, "keyfile": key}
    plugins: dict[str, object] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    if passwords is not None:
        plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": passwords}}
    broker = Broker(json.loads(json.dumps({"listeners": {"default": listener}, "plugins": plugins})))
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--passwords")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    words = parser.parse_args()
    asyncio.run(_serve(words.port, words.passwords, words.certificate, words.key))
