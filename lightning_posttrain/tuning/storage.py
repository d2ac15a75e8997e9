"""Where a study is kept, and the lock under which its trials are given out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from filelock import FileLock

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.tuning.backend import journal, optuna
from lightning_posttrain.tuning.refusal import StudyRefused
from lightning_posttrain.tuning.result import Mode
from lightning_posttrain.tuning.samplers import PRUNERS

JOURNAL = "study.journal"
LOCKS = {
    "postgresql": ("SELECT pg_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)"),
    "mysql": ("SELECT GET_LOCK(:key, -1)", "SELECT RELEASE_LOCK(:key)"),
    "mariadb": ("SELECT GET_LOCK(:key, -1)", "SELECT RELEASE_LOCK(:key)"),
}
"""By the kind of a database, how a connection takes a lock that ends with it at the latest, and gives it back."""


@final
@dataclass(frozen=True)
class StudyStore:
    """Where a study is: a journal in its folder, or a database. It can be sent to another process.

    Args:
        folder: of the study on this machine.
        url: of a database; None for the journal.
        name: of the study in it.
        mode: whether less is better.
        pruner: who ends trials early.
    """

    folder: Path
    url: str | None
    name: str
    mode: Mode
    pruner: str

    @property
    def said(self) -> str:
        """Where it is, for messages."""
        return f"`folder` {str(self.folder)!r}" if self.url is None else f"`storage` {_hidden(self.url)!r}"

    def open(self) -> tuple[Any, Any]:
        """The study and its storage, made where they are not there yet: hold the lock the first time."""
        storage = self._storage()
        direction: Literal["minimize", "maximize"] = "maximize" if self.mode == "max" else "minimize"
        study = optuna.create_study(
            storage=storage,
            study_name=self.name,
            direction=direction,
            load_if_exists=True,
            pruner=PRUNERS[self.pruner](),
        )
        return study, storage

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all other workers of the study out; the system ends it with the process that holds it."""
        if self.url is not None and _kind(self.url) in LOCKS:
            with _database_lock(self.url, self.name):
                yield
        else:
            with FileLock(self._lock_file()):
                yield

    def _lock_file(self) -> Path:
        """Beside a database that is a file, as others may have another folder; else in the folder."""
        if self.url is not None and _kind(self.url) == "sqlite":
            return Path(f"{_parsed(self.url).database}.lock")
        return self.folder / "study.lock"

    def _storage(self) -> Any:
        if self.url is None:
            file = self.folder / JOURNAL
            lock: Any = _JournalLock(file)
            backend = journal.JournalFileBackend(str(file), lock_obj=lock)
            return optuna.storages.JournalStorage(backend)
        from sqlalchemy.pool import NullPool

        # a connection kept open would be shared with a forked rank, and be closed by the server in a long epoch
        return optuna.storages.RDBStorage(self.url, engine_kwargs={"poolclass": NullPool})


@final
class _JournalLock:
    """A lock on a journal that ends with its process. Optuna's own stays behind, and costs the next process 30 s."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.held = FileLock(f"{file}.held")

    def acquire(self) -> bool:
        self.held.acquire()
        drop_torn_line(self.file)
        return True

    def release(self) -> None:
        self.held.release()


def drop_torn_line(path: Path) -> None:
    """Cut what a process that died while it wrote left behind the last whole line, or nobody can read on."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def _database_lock(url: str, name: str) -> Iterator[None]:
    import sqlalchemy

    take, give = (sqlalchemy.text(said) for said in LOCKS[_kind(url)])
    key = int.from_bytes(hashlib.sha256(f"lightning_posttrain {name}".encode()).digest()[:7], "big")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(take, {"key": key})
        try:
            yield
        finally:
            connection.execute(give, {"key": key})


def check_url(url: str) -> None:
    """Refuse what is no URL of a database, keeps nothing, or cannot be reached.

    Raises:
        StudyRefused: with what is wrong with it.
        ImportError: its driver is not installed.
    """
    import sqlalchemy

    try:
        parsed = _parsed(url)
        parsed.get_dialect()
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise StudyRefused(
            f"`storage` is {url!r}, wanted None for a journal in `folder`, or a URL as "
            '"postgresql+psycopg://user:password@host/database".'
        ) from error
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StudyRefused(f"`storage` is {url!r}, which keeps nothing: leave it out for a journal in `folder`.")
    try:
        with sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool).connect():
            pass
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`storage` is {_hidden(url)!r}, whose driver is missing: pip install {error.name}"
        ) from error
    except sqlalchemy.exc.OperationalError as error:
        said = first_line(error.orig or error)
        raise StudyRefused(f"`storage` is {_hidden(url)!r}, which does not answer: {said}") from error


def _parsed(url: str) -> Any:
    from sqlalchemy.engine import make_url

    return make_url(url)


def _kind(url: str) -> str:
    return str(_parsed(url).get_backend_name())


def _hidden(url: str) -> str:
    """Without its password."""
    return str(_parsed(url).render_as_string(hide_password=True))
