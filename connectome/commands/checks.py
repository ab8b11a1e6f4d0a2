"""Commands that look at datasets and change nothing."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from connectome.commands import options

commands = typer.Typer()


@commands.command()
def audit(
    dataset: Annotated[str, typer.Argument(help="A dataset whose run is through.")],
    every: Annotated[bool, typer.Option("--all", help="Compute all blocks again, not a sample.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Look whether a dataset is whole: receipts, keys, bytes, faces and names; exit code 1 where it is not."""
    from connectome.runtime.audit import audit as audit_dataset

    found = audit_dataset(dataset, every=every)
    counts = {
        "tasks": found.n_tasks,
        "computed_more_than_once": found.n_repeated,
        "blocks": found.n_blocks,
        "table_parts": found.n_parts,
        "computed_again_now": found.n_recomputed,
    }
    if as_json:
        print(json.dumps({"dataset": dataset, "findings": found.sentences, "remarks": found.remarks, **counts}))
    else:
        for sentence in [*found.sentences, *found.remarks]:
            print(sentence)
        print(
            f"{found.n_tasks:,} tasks ({found.n_repeated:,} with more than one receipt), {found.n_blocks:,} blocks, "
            f"{found.n_parts:,} parts of tables, {found.n_recomputed:,} blocks computed again: "
            f"{'clean' if not found.sentences else 'not clean'}"
        )
    if found.sentences:
        raise typer.Exit(1)
