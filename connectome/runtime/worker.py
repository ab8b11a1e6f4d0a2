"""Workers and schedulers as processes of their own, for clusters of several machines.

A worker is a Dask worker without a nanny: what starts it (a supervisor, Kubernetes) starts it again. It
offers its pool as a resource, goes politely on SIGTERM, and outlives its scheduler.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import dask
from distributed import Scheduler, Security, Worker

from connectome.errors import InputError
from connectome.runtime import leaving
from connectome.runtime.cluster import SETTINGS, wanted_keys
from connectome.runtime.pools import CPU
from connectome.runtime.scratch import scratch_folder
from connectome.runtime.work import SPOT, is_spot_machine

PATIENCE_S = 60.0
"""How long a worker waits for a scheduler that is not there yet, or went."""
PORT, LAST_PORT = 8786, 65535


@dataclass(frozen=True)
class Service:
    """A worker, as the command line describes it.

    Attributes
    ----------
    address : str
        The scheduler's ``tcp://`` or ``tls://`` address; keys of the latter are those of Dask's settings.
    pool : str
        The resource that it offers.
    is_spot : bool
        Whether the machine can be taken away; receipts say so.
    grace_s : float
        How long the block at hand may take after SIGTERM.
    patience_s : float
        How long to wait for a scheduler.
    """

    address: str
    pool: str = CPU
    is_spot: bool = False
    grace_s: float = leaving.GRACE_S
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        place = urlsplit(self.address)
        if place.scheme not in ("tcp", "tls") or not place.hostname or not _port_of(self.address):
            raise InputError(
                f"a worker takes its scheduler's address, such as tcp://host:{PORT}, got {self.address!r}: the "
                "scheduler prints it"
            )
        if min(self.grace_s, self.patience_s) < 0:
            raise InputError(f"--grace is {self.grace_s:g} and --patience {self.patience_s:g}; seconds are wanted")


def serve(service: Service, told: Callable[[str], None]) -> bool:
    """Work for a scheduler until SIGTERM or Ctrl-C; `told` hears when it begins.

    Returns
    -------
    bool
        True where the scheduler went instead: the caller starts the process anew, so that nothing of what
        was under way goes on, and it waits for the scheduler to come back.

    Raises
    ------
    InputError
        Where no scheduler answers for `Service.patience_s`.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    leaving.allow(service.grace_s)
    if service.is_spot:
        os.environ[SPOT] = "1"
    is_spot_machine()  # what it cannot mean is said before any work
    with scratch_folder("connectome-worker-") as scratch, dask.config.set(SETTINGS):
        return asyncio.run(_work(service, scratch, told))


def start_anew() -> None:
    """Replace this process by one that was started the same way; it keeps its process id."""
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def serve_scheduler(
    told: Callable[[str], None], host: str = "127.0.0.1", port: int = PORT, *, is_secure: bool = False
) -> None:
    """Be a scheduler with the settings that the engine wants, until SIGTERM or Ctrl-C.

    Parameters
    ----------
    told : callable
        Told the address.
    host : str
        Address to listen at; an empty one is all of this machine's.
    port : int
        0 takes a free one.
    is_secure : bool
        Encrypt with the keys of Dask's settings, and refuse who has none.
    """
    if not 0 <= port <= LAST_PORT:
        raise InputError(f"--port takes a number from 0 (any free one) to {LAST_PORT}, got {port}")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(SETTINGS):
        asyncio.run(_schedule(told, host, port, is_secure=is_secure))


async def _work(service: Service, scratch: str, told: Callable[[str], None]) -> bool:
    security = _security("worker", is_secure=service.address.startswith("tls://"))
    try:
        worker = await Worker(
            service.address,
            name=f"{service.pool}-{socket.gethostname()}-{os.getpid()}",
            nthreads=1,
            memory_limit=0,
            dashboard=False,
            resources={service.pool: 1},
            local_directory=scratch,
            death_timeout=service.patience_s,
            security=security,
            plugins=(leaving.Leave(),),
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"no scheduler answered at {service.address} for {service.patience_s:g} s: start one (connectome "
            "scheduler), or mend the address"
        ) from error
    told(f"worker {worker.address} of pool {service.pool} at {service.address}")
    await worker.finished()
    return not leaving.is_leaving()


async def _schedule(told: Callable[[str], None], host: str, port: int, *, is_secure: bool) -> None:
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    security = _security("scheduler", is_secure=is_secure)
    try:
        scheduler = await Scheduler(
            host=host,
            port=port,
            protocol="tls" if is_secure else "tcp",
            security=security,
            dashboard=False,
            dashboard_address=(host, 0),  # without a dashboard it listens all the same: at any free port of our host
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"a scheduler cannot listen at {host or 'all addresses'}, port {port}: choose another --port"
        ) from error
    told(scheduler.address)
    await ended.wait()
    await scheduler.close()


def _security(role: str, *, is_secure: bool) -> Security:
    """Return what encrypts connections with the keys of Dask's settings, or what does not encrypt."""
    if not is_secure:
        return Security(require_encryption=False)
    security = Security()
    try:
        are_there = security.get_listen_args(role)["ssl_context"] is not None
    except OSError as error:
        raise InputError(f"the keys of distributed.comm.tls in Dask's settings cannot be used: {error}") from error
    if not are_there:
        raise InputError(wanted_keys("--secure" if role == "scheduler" else "a tls:// address", role))
    return security


def _port_of(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:
        return None
