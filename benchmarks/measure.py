"""Time our kernel and its peers in alternation, and make records of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks.machine import peak_of, silence
from benchmarks.records import Record

Call = Callable[[], Any]


@dataclass(frozen=True)
class Peer:
    """Another implementation of a case.

    Attributes
    ----------
    name : str
        As in the records.
    package : str
        The distribution that it comes from.
    call : callable
        What is timed.
    less : callable, optional
        A call whose time is taken off, where the peer does more than the case in one call.
    note : str
        What the call includes.
    """

    name: str
    package: str
    call: Call
    less: Call | None = None
    note: str = ""


@dataclass(frozen=True)
class Contest:
    """One case on one input, ready to be timed.

    Attributes
    ----------
    ours : callable
        Our kernel.
    peers : sequence of Peer
        The others.
    voxels : int
        Voxels of the input.
    bytes_moved : int
        Bytes of the inputs and the outputs.
    count : callable, optional
        (fragments, edges) of our result.
    score : callable, optional
        Quality of a result, ours or a peer's.
    note : str
        What holds whoever the peer is.
    """

    ours: Call
    peers: Sequence[Peer]
    voxels: int
    bytes_moved: int
    count: Callable[[Any], tuple[int | None, int | None]] | None = None
    score: Callable[[Any], Mapping[str, float]] | None = None
    note: str = ""


@dataclass(frozen=True)
class Effort:
    """How often a contest is repeated.

    At least `least` times, or twice where that takes longer than `patience_s`; then until `seconds` have
    passed, at most `most` times.
    """

    least: int = 3
    most: int = 40
    seconds: float = 3.0
    patience_s: float = 20.0


@dataclass(frozen=True)
class Setting:
    """What all records of a run share."""

    hardware: str
    commit: str
    bandwidth_bytes_per_s: float


@dataclass
class _Times:
    ours: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=dict)
    others: dict[str, list[float]] = field(default_factory=dict)


def peak_of_ours(contest: Contest) -> int | None:
    """Measure what our call takes at most beyond its inputs; called before any peer runs.

    Peers leave holes in the heap that later calls fill and that the allocator cannot hand back.
    """
    contest.ours()  # compiles, or loads what is compiled
    return peak_of(contest.ours)[1]


def measure(
    case: str,
    given: str,
    contest: Contest,
    effort: Effort,
    setting: Setting,
    peak: int | None = None,
    others: Mapping[str, Contest] | None = None,
) -> list[Record]:
    """Run a contest and return one record per peer (one of no peer where there is none).

    Parameters
    ----------
    case, given : str
        Names of the case and of the input.
    contest : Contest
    effort : Effort
    setting : Setting
    peak : int, optional
        What `peak_of_ours` said of the contest.
    others : mapping of str to Contest, optional
        The same case on other inputs, by their names: our calls take turns with these, and the records say how
        much slower a voxel is.
    """
    others = others or {}
    for each in (*others.values(), contest):
        result = each.ours()  # compiles, or loads what is compiled
    fragments, edges = contest.count(result) if contest.count else (None, None)
    score = contest.score(result) if contest.score else None
    del result
    peer_peaks: dict[str, int | None] = {}
    peer_scores: dict[str, Mapping[str, float]] = {}
    for peer in contest.peers:
        with silence():
            result, peer_peaks[peer.name] = peak_of(peer.call)
            if peer.less:
                peer.less()
        if contest.score and peer.less is None:
            peer_scores[peer.name] = contest.score(result)
        del result
    times = _alternate(contest, others, effort)
    ours = times.ours
    slowdown = {
        name: statistics.median(
            (a / contest.voxels) / (b / others[name].voxels) for a, b in zip(ours, taken, strict=True)
        )
        for name, taken in times.others.items()
    }

    def record(peer: Peer | None) -> Record:
        theirs = times.peers[peer.name] if peer else []
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)] if peer else []
        median = statistics.median(ours)
        packages = ["numba", "numpy", *([peer.package] if peer else [])]
        quality = None
        if score is not None:
            quality = {"ours": score, "peer": peer_scores.get(peer.name) if peer else None}
        return Record(
            case=case,
            input=given,
            peer=peer.name if peer else "none",
            ours_s=median,
            peer_s=statistics.median(theirs) if peer else None,
            ratio=statistics.median(ratios) if peer else None,
            ratio_min=min(ratios) if peer else None,
            ratio_max=max(ratios) if peer else None,
            ours_min_s=min(ours),
            ours_max_s=max(ours),
            peer_min_s=min(theirs) if peer else None,
            peer_max_s=max(theirs) if peer else None,
            repeats=len(ours),
            voxels=contest.voxels,
            fragments=fragments,
            edges=edges,
            voxels_per_s=contest.voxels / median,
            voxels_per_core_hour=3600 * contest.voxels / median,
            bytes_moved=contest.bytes_moved,
            peak_bytes=peak,
            peer_peak_bytes=peer_peaks[peer.name] if peer else None,
            bytes_per_voxel=None if peak is None else peak / contest.voxels,
            bytes_per_edge=peak / edges if peak is not None and edges else None,
            bandwidth_bytes_per_s=setting.bandwidth_bytes_per_s,
            slowdown=slowdown or None,
            quality=quality,
            hardware=setting.hardware,
            commit=setting.commit,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={name: version(name) for name in packages},
            note=" ".join(part for part in (contest.note, peer.note if peer else "") if part),
        )

    return [record(peer) for peer in contest.peers] or [record(None)]


def _alternate(contest: Contest, others: Mapping[str, Contest], effort: Effort) -> _Times:
    times = _Times(peers={peer.name: [] for peer in contest.peers}, others={name: [] for name in others})
    begin = time.perf_counter()
    while (
        (n := len(times.ours)) < min(2, effort.least)
        or (n < effort.least and time.perf_counter() - begin < effort.patience_s)
        or (n < effort.most and time.perf_counter() - begin < effort.seconds)
    ):
        times.ours.append(_seconds(contest.ours))
        for name, other in others.items():
            times.others[name].append(_seconds(other.ours))
        for peer in contest.peers:
            taken = _seconds(peer.call)
            times.peers[peer.name].append(taken - _seconds(peer.less) if peer.less else taken)
    return times


def _seconds(call: Call) -> float:
    """Time a call by the processor's time of this process: what else runs on the machine does not count."""
    with silence():
        start = time.process_time()
        result = call()
        taken = time.process_time() - start
    del result
    return taken
