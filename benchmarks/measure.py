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
    passed, at most `most` times. Whose calls are short makes as many in a turn as fill `turn_s`.
    """

    least: int = 3
    most: int = 40
    seconds: float = 3.0
    patience_s: float = 20.0
    turn_s: float = 1.0


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


@dataclass(frozen=True)
class Look:
    """What is known of our result before anything is timed.

    Attributes
    ----------
    peak_bytes : int or None
        What our call takes at most beyond its inputs; None where the system does not tell.
    fragments, edges : int or None
    score : mapping of str to float, or None
    """

    peak_bytes: int | None
    fragments: int | None
    edges: int | None
    score: Mapping[str, float] | None


def look(contest: Contest, *, is_compiled: bool = False) -> Look:
    """Measure our memory, and judge our result; called before any peer runs.

    Peers leave holes in the heap that later calls fill and that the allocator cannot hand back. Where the case
    `is_compiled` already, one call is enough.
    """
    if not is_compiled:
        contest.ours()
    result, peak = peak_of(contest.ours)
    fragments, edges = contest.count(result) if contest.count else (None, None)
    return Look(peak, fragments, edges, contest.score(result) if contest.score else None)


def measure(
    case: str,
    given: str,
    contest: Contest,
    effort: Effort,
    setting: Setting,
    seen: Look | None = None,
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
    seen : Look, optional
        What `look` said of the contest.
    others : mapping of str to Contest, optional
        The same case on other inputs, by their names: our calls take turns with these, and the records say how
        much slower a voxel is.
    """
    seen, others = seen or look(contest), others or {}
    fragments, edges, score, peak = seen.fragments, seen.edges, seen.score, seen.peak_bytes
    peer_peaks: dict[Call, int | None] = {}
    peer_scores: dict[Call, Mapping[str, float]] = {}
    for peer in contest.peers:
        with silence():
            if peer.call not in peer_peaks:
                result, peer_peaks[peer.call] = peak_of(peer.call)
                if contest.score and peer.less is None:
                    peer_scores[peer.call] = contest.score(result)
                del result
            if peer.less:
                peer.less()
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
            quality = {"ours": score, "peer": peer_scores.get(peer.call) if peer else None}
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
            peer_peak_bytes=peer_peaks[peer.call] if peer else None,
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

    # A peer's time that is the difference of two calls may drown in their noise.
    told = [peer for peer in contest.peers if statistics.median(times.peers[peer.name]) > 0]
    return [record(peer) for peer in told] or [record(None)]


def _alternate(contest: Contest, others: Mapping[str, Contest], effort: Effort) -> _Times:
    times = _Times(peers={peer.name: [] for peer in contest.peers}, others={name: [] for name in others})
    begin = time.perf_counter()
    while (
        (n := len(times.ours)) < min(2, effort.least)
        or (n < effort.least and time.perf_counter() - begin < effort.patience_s)
        or (n < effort.most and time.perf_counter() - begin < effort.seconds)
    ):
        times.ours.append(_seconds(contest.ours, effort.turn_s))
        for name, other in others.items():
            times.others[name].append(_seconds(other.ours, effort.turn_s))
        taken: dict[Call, float] = {}  # peers that share a call share its time
        for peer in contest.peers:
            if peer.call not in taken:
                taken[peer.call] = _seconds(peer.call, effort.turn_s)
            times.peers[peer.name].append(taken[peer.call] - (_seconds(peer.less, effort.turn_s) if peer.less else 0))
    return times


def _seconds(call: Call, turn_s: float) -> float:
    """Time a call by the processor's time of this process: what else runs on the machine does not count.

    A turn takes one call, or as many as fill `turn_s`, of which the mean counts: the first ones find the memory and
    the caches as the contestant before left them, which is what short calls would be timed by.
    """
    n, taken = 0, 0.0
    while n == 0 or taken + taken / n < turn_s:
        with silence():
            start = time.process_time()
            result = call()
            taken += time.process_time() - start
        del result
        n += 1
    return taken / n
