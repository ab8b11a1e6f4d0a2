"""Commands that make a cluster of several machines: a scheduler, and workers."""

from __future__ import annotations

from typing import Annotated

import typer

commands = typer.Typer()


@commands.command()
def worker(
    address: Annotated[str, typer.Argument(metavar="tcp://HOST:PORT", help="The scheduler, tcp:// or tls://.")],
    pool: Annotated[str, typer.Option(help="What it offers to stages that ask for it, such as gpu.")] = "cpu",
    spot: Annotated[bool, typer.Option("--spot", help="The machine can be taken away; the bill tells them apart.")] = (
        False
    ),
    grace: Annotated[float, typer.Option(metavar="S", help="Seconds for the block at hand after SIGTERM.")] = 25.0,
    patience: Annotated[float, typer.Option(metavar="S", help="Seconds to wait for a scheduler that is away.")] = 60.0,
) -> None:
    """Work for a scheduler until SIGTERM: finish the block at hand, hand back the rest, and go."""
    from connectome.kernels.memory import use_one_heap

    use_one_heap()  # before anything starts a thread, as pyarrow does
    from connectome.runtime.worker import Service, serve, start_anew

    if serve(Service(address, pool, spot, grace, patience), _tell):
        start_anew()


@commands.command()
def scheduler(
    host: Annotated[str, typer.Option(help="Address to listen at; this machine's own if not given.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8786,
    secure: Annotated[bool, typer.Option("--secure", help="TLS, with the keys of Dask's settings.")] = False,
) -> None:
    """Be a Dask scheduler with the settings that runs want; print its address."""
    from connectome.runtime.worker import serve_scheduler

    serve_scheduler(_tell, host, port, is_secure=secure)


def _tell(line: str) -> None:
    print(line, flush=True)
