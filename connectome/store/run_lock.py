"""The run lock: of all drivers that want to write one dataset, one does.

``<dataset>/run.lock/`` holds numbered claims; the highest is the one that counts. A driver claims the
dataset by creating the next number, which succeeds for one of many, when the highest is released or
abandoned. The holder renews its claim every few seconds, and nobody else writes to it: that the claim
was renewed is told by its count of renewals, never by a clock of another host.

Why two drivers never write at the same time: who waits takes over a claim that was not renewed for
`Pace.stale_s` of its own clock; who holds it stops `Pace.lease_s` (less) after its last renewal began,
also when it was suspended or cut off from the store meanwhile. A driver that died on the same machine is
seen to be dead, and nobody waits.

Numbers only go up: the highest claim stays when it is released, so that what a slow rival once saw as
free is never free a second time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from connectome.errors import InputError
from connectome.store.locations import create_key, delete_key, is_dataset, list_keys, read_key, write_key

FOLDER = "run.lock"
CLOCK = "%Y-%m-%d %H:%M:%S UTC"


class RunLockError(InputError):
    """Another driver holds the dataset, or took it over."""


@dataclass(frozen=True)
class Pace:
    """Seconds between renewals, how long the holder goes on without one, and how long others wait for one."""

    refresh_s: float = 5.0
    lease_s: float = 45.0
    stale_s: float = 60.0


@dataclass(frozen=True)
class Claim:
    """Who holds a dataset, as it stands in the store."""

    token: str
    host: str
    machine: str
    pid: int
    process_start: str
    since: str
    seen: str
    n_renewals: int = 0
    is_released: bool = False

    @classmethod
    def of_this_process(cls) -> Claim:
        """Return a claim that is like no other."""
        now, pid = _now(), os.getpid()
        return cls(uuid.uuid4().hex, socket.gethostname(), _machine(), pid, _process_start(pid) or "", now, now)

    @classmethod
    def parse(cls, content: bytes, url: str) -> Claim:
        """Read a claim back."""
        try:
            claim = cls(**json.loads(content))
            _ = claim.seen_at
        except (ValueError, TypeError) as error:
            raise RunLockError(f"{url} is not a claim: if no run uses the dataset, delete it") from error
        return claim

    @property
    def seen_at(self) -> datetime:
        """Return when its holder renewed it last, by its own clock."""
        return datetime.strptime(self.seen, CLOCK).replace(tzinfo=UTC)

    @property
    def is_dead(self) -> bool:
        """Say whether the claim is of this machine and its process is gone."""
        return self.machine == _machine() and _process_start(self.pid) != self.process_start

    @property
    def is_alive(self) -> bool:
        """Say whether the claim is of this machine and its process is there."""
        return self.machine == _machine() and not self.is_dead

    @property
    def is_held(self) -> bool:
        """Say whether someone holds the dataset, as far as a look can tell: by its clock if it is elsewhere."""
        is_stale = datetime.now(UTC) - self.seen_at > timedelta(seconds=Pace().stale_s)
        return not (self.is_released or self.is_dead or is_stale)

    def content(self) -> bytes:
        """Return the claim as bytes."""
        return json.dumps(asdict(self), indent=1).encode()


@dataclass
class RunLock:
    """A hold on the dataset at `dataset_url`; entering it claims the dataset or says who has it.

    Attributes
    ----------
    dataset_url : str
        An absolute path or a URL; the dataset need not exist yet.
    pace : Pace
        The same for all who may want the dataset.
    """

    dataset_url: str
    pace: Pace = Pace()
    _claim: Claim | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _renewed: float = field(default=0.0, init=False)
    _loss: str | None = field(default=None, init=False)
    _trouble: str = field(default="it was suspended", init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> RunLock:
        self._acquire()
        self._thread = threading.Thread(target=self._keep_renewing, name="run lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self.pace.lease_s)
        # A hold that cannot be given back is taken over by the next driver all the same.
        with contextlib.suppress(InputError):
            self._release()

    def check(self, _event: object = None) -> None:
        """Raise if the dataset is no longer ours; a listener of the run."""
        if self._loss is None and time.monotonic() - self._renewed > self.pace.lease_s:
            self._loss = f"not renewed for {self.pace.lease_s:g} s: {self._trouble}"
        if self._loss is not None:
            raise RunLockError(
                f"this run lost its hold on {self.dataset_url} ({self._loss}) and stopped, so that no two runs "
                "write it: make sure that no other run uses it, then run the same command to go on"
            )

    @property
    def claim(self) -> str:
        """Name of the claim, which is there for as long as nobody else claimed the dataset."""
        return _name(self._number)

    @property
    def _url(self) -> str:
        return f"{self.dataset_url}/{FOLDER}"

    def _acquire(self) -> None:
        watched: Claim | None = None
        watched_since = 0.0
        while True:
            number, claim = latest_claim(self.dataset_url)
            if claim is None or claim.is_released or claim.is_dead:
                if self._take(number + 1):
                    return
                continue
            if watched is None or claim.token != watched.token:
                watched, watched_since = claim, time.monotonic()
            if claim.is_alive or claim.n_renewals != watched.n_renewals:
                raise RunLockError(
                    f"{self.dataset_url} is held by another run, process {claim.pid} on {claim.host} (since "
                    f"{claim.since}, last seen {claim.seen}): wait until it ends, stop it, or choose another "
                    "dataset.url"
                )
            if time.monotonic() - watched_since > self.pace.stale_s:
                if self._take(number + 1):
                    return
                continue
            time.sleep(min(self.pace.refresh_s, self.pace.stale_s / 4))

    def _take(self, number: int) -> bool:
        """Create the claim `number`; say whether it is the one that counts."""
        claim, began = Claim.of_this_process(), time.monotonic()
        if not create_key(self._url, _name(number), claim.content()):
            return False
        numbers = _numbers(self._url)
        if numbers and numbers[-1] > number:
            # What we saw as free was taken, given back and taken again since: others are further.
            delete_key(self._url, _name(number))
            return False
        self._claim, self._number, self._renewed = claim, number, began
        for older in numbers:
            if older < number:
                delete_key(self._url, _name(older))
        return True

    def _keep_renewing(self) -> None:
        while self._loss is None and not self._ended.wait(self.pace.refresh_s):
            began = time.monotonic()
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001, RUF100
                # Whatever it is, the lease runs out unless a later renewal succeeds.
                self._trouble = str(error)
            else:
                self._renewed = began

    def _renew(self) -> None:
        assert self._claim is not None
        numbers = _numbers(self._url)
        content = read_key(self._url, _name(self._number))
        if numbers and numbers[-1] > self._number:
            taker = latest_claim(self.dataset_url)[1]
            self._loss = f"taken over by process {taker.pid} on {taker.host}" if taker else "taken over"
        elif content is None or Claim.parse(content, self._url).token != self._claim.token:
            self._loss = f"its claim {self._url}/{_name(self._number)} was taken away"
        else:
            self._claim = replace(self._claim, n_renewals=self._claim.n_renewals + 1, seen=_now())
            write_key(self._url, _name(self._number), self._claim.content())

    def _release(self) -> None:
        """Give the dataset back. Our own claim is ours to write whatever happened, if it is there."""
        assert self._claim is not None
        content = read_key(self._url, _name(self._number))
        if content is None or Claim.parse(content, self._url).token != self._claim.token:
            return
        if is_dataset(self.dataset_url):
            write_key(self._url, _name(self._number), replace(self._claim, seen=_now(), is_released=True).content())
            return
        delete_key(self._url, _name(self._number))  # the run was refused before it wrote anything
        if "://" not in self.dataset_url:
            with contextlib.suppress(OSError):
                Path(self._url).rmdir()
                Path(self.dataset_url).rmdir()


def check_claim(dataset_url: str, claim: str) -> None:
    """Raise where a claim is no longer there: another run took the dataset over, and whose work goes on may not write.

    One read, for workers: those of a driver that died do not know of it until they are through with a block.
    """
    if read_key(f"{dataset_url}/{FOLDER}", claim) is None:
        raise RunLockError(f"another run took {dataset_url} over from the one that wanted this: nothing is written")


def latest_claim(dataset_url: str) -> tuple[int, Claim | None]:
    """Return the highest claim on a dataset and its number, or (0, None) where nobody ever held it."""
    url = f"{dataset_url}/{FOLDER}"
    while numbers := _numbers(url):
        content = read_key(url, _name(numbers[-1]))
        if content is not None:  # else it was taken away since the listing
            return numbers[-1], Claim.parse(content, f"{url}/{_name(numbers[-1])}")
    return 0, None


def _numbers(url: str) -> list[int]:
    return sorted(int(key[:10]) for key in list_keys(url) if re.fullmatch(r"\d{10}\.json", key))


def _name(number: int) -> str:
    return f"{number:010d}.json"


def _now() -> str:
    return datetime.now(UTC).strftime(CLOCK)


def _machine() -> str:
    """Name the machine since its last start, and the process ids that are valid together on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}:{uuid.getnode():x}"


def _process_start(pid: int) -> str | None:
    """Return when process `pid` of this machine started, in its own units, or None if it is gone."""
    if Path("/proc/self/stat").exists():
        try:
            # The name in brackets may hold anything; state and start time are the 3rd and 22nd field.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""
