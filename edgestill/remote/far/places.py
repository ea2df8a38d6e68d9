"""The folder of the agent on the device, and the small files in it.

    lock             held (flock) by an upload or a job; its content says who holds it
    owners.json      for each user, the bundle that was deployed last
    incoming/ID/     a bundle on its way: whole files under their names, partial ones as SHA256.part
    bundles/ID/      unpacked bundles, see ``export.bundle.contents``; ID begins the SHA-256 of SHA256SUMS
    jobs/N/          job.json, state.json, log, seen, collected, stop, and the results in out/

``clean`` removes the folder.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Iterator

LOCK, OWNERS = "lock", "owners.json"
TAKE_OVER_S = 5.0  # for an upload of the same user, whose connection was cut, to end
LOOKED_AT_S = 0.3  # a process that only asks who holds the lock has it for a moment
POLL_S = 0.05
CHUNK = 1 << 20


class RefusedError(Exception):
    """What the agent does not do: what, what to do next, and the exit code of edgestill."""

    def __init__(self, what: str, hint: str, code: int) -> None:
        super().__init__(what)
        self.hint, self.code = hint, code


class Places:
    """The paths below the folder of the agent.

    Args:
        root: The folder, absolute or with ``~``.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root).expanduser()

    def bundle(self, name: str) -> Path:
        """The folder of a deployed bundle."""
        return self.root / "bundles" / plain(name)

    def incoming(self, name: str) -> Path:
        """The folder of a bundle on its way."""
        return self.root / "incoming" / plain(name)

    def job(self, number: int) -> Path:
        """The folder of a job."""
        return self.root / "jobs" / str(int(number))

    def jobs(self) -> "list[int]":
        """The numbers of all jobs, in their order."""
        folder = self.root / "jobs"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def bundles(self) -> "list[str]":
        """The deployed bundles."""
        folder = self.root / "bundles"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def owners(self) -> "dict[str, str]":
        """For each user, the bundle that was deployed last."""
        return read_json(self.root / OWNERS) or {}

    def holder(self) -> "dict[str, Any] | None":
        """Who holds the lock; None if it is free."""
        try:
            lock = Lock(self)
        except FileNotFoundError:
            return None
        try:
            return None if lock.try_take() else lock.holder()
        finally:
            lock.close()


class Lock:
    """The lock of the device: held by one upload or one job, freed by the system when its process ends.

    Args:
        places: The folder.
        create: Whether to make folder and file where there are none.

    Raises:
        FileNotFoundError: There is none, and none is made.
    """

    def __init__(self, places: Places, create: bool = False) -> None:
        self._places = places
        if create:
            places.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(str(places.root / LOCK), os.O_RDWR | (os.O_CREAT if create else 0), 0o600)

    def try_take(self) -> bool:
        """Take it if it is free."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def is_current(self) -> bool:
        """Whether the file is still that of the folder: another process may have cleaned it."""
        try:
            found = (self._places.root / LOCK).stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file)
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def holder(self) -> "dict[str, Any]":
        """What the holder wrote; empty where it has not written it yet."""
        try:
            found = json.loads(os.pread(self._file, 1 << 16, 0).decode("utf-8"))
        except ValueError:
            return {}
        return dict(found)

    def sign(self, owner: str, verb: str, job: "int | None" = None) -> None:
        """Write who holds it: this process, for a user."""
        holder = {"owner": owner, "verb": verb, "since": now(), "job": job, "pid": os.getpid()}
        data = json.dumps(holder).encode("utf-8")
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, data, 0)

    def close(self) -> None:
        """Free it, in this process."""
        os.close(self._file)


def take_lock(places: Places, owner: str, verb: str) -> Lock:
    """Take the lock for a user, or raise RefusedError with the name of its holder."""
    start = time.monotonic()
    while True:
        lock = Lock(places, create=True)
        if lock.try_take() and lock.is_current():
            lock.sign(owner, verb)
            return lock
        holder = lock.holder()
        lock.close()
        waited = time.monotonic() - start
        if holder.get("owner") == owner and holder.get("job") is None and waited < TAKE_OVER_S:
            # An upload of the same user, whose connection was cut without a word: the new one replaces it.
            _end(int(holder["pid"]))
        elif waited > LOOKED_AT_S:
            raise held(holder)
        time.sleep(POLL_S)


def remember(places: Places, owner: str, bundle: str) -> None:
    """Note the bundle that a user has deployed last, and remove those that are nobody's any more."""
    _write_owners(places, {**places.owners(), owner: bundle})


def forget(places: Places, owner: str) -> None:
    """Remove the bundle of a user, if it is nobody else's, and uploads that were given up."""
    _write_owners(places, {name: bundle for name, bundle in places.owners().items() if name != owner})
    remove(places.root / "incoming")


def _write_owners(places: Places, owners: "dict[str, str]") -> None:
    write_json(places.root / OWNERS, owners)
    for other in places.bundles():
        if other not in owners.values():
            remove(places.bundle(other))


def held(holder: "dict[str, Any]") -> RefusedError:
    """The refusal that names who holds the lock."""
    who, verb = holder.get("owner", "somebody"), holder.get("verb", "command")
    since = holder.get("since", "just now")
    return RefusedError(
        f"{verb} of {who} runs there since {since}",
        f"wait for its end, or agree with {who}; the same command of the same user shows it again",
        5,
    )


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def plain(name: str) -> str:
    """A name of one part, or ValueError."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"no plain name: {name!r}")
    return name


def inner(name: str) -> Path:
    """A relative path that stays below its folder, or ValueError."""
    return Path(*[plain(part) for part in name.split("/")])


def now() -> str:
    """The device's time in UTC, which may be wrong: nothing is decided by it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in blocks(stream):
            digest.update(block)
    return digest.hexdigest()


def blocks(stream: Any) -> "Iterator[bytes]":
    """The content of a binary file in pieces."""
    while True:
        block = stream.read(CHUNK)
        if not block:
            return
        yield block


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where there is none, or half of one after a power cut."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def pauses() -> "Iterator[float]":
    """Seconds to wait between looks at something that takes long: short first, and rare in the end.

    A device that measures must not be kept busy by who waits for it.
    """
    pause_s = 0.02
    while True:
        yield pause_s
        pause_s = min(1.5 * pause_s, 0.5)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(value, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        remove(temporary)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(str(path))
