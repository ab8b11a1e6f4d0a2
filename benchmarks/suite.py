"""Run the table of cases on the table of inputs."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from benchmarks.cases import CASES, Case
from benchmarks.inputs import ADVERSARIAL, SOURCES, Source, UnavailableError, Volume
from benchmarks.measure import Contest, Effort, Look, Setting, look, measure
from benchmarks.records import Record

REFERENCE = "fib25"


@dataclass(frozen=True)
class Outcome:
    """What came of one case on one input: records, or why there are none.

    Attributes
    ----------
    records : list of Record
    skipped : str
        Why parts, or all, did not run; empty where nothing was left out.
    has_failed : bool
        Whether that is an error rather than something that is not there.
    """

    case: str
    input: str
    records: list[Record]
    skipped: str = ""
    has_failed: bool = False


def run(cases: Collection[str], inputs: Collection[str], effort: Effort, setting: Setting) -> Iterator[Outcome]:
    """Run the cases of these names on the inputs of these names, input by input, so that one is held at a time.

    Our memory is measured first, for all of them.
    """
    looks = _looks(cases, inputs)
    compared: dict[str, Volume] = {}
    for source in SOURCES:
        if source.name not in inputs:
            continue
        volume = Volume(source)
        try:
            volume.affinities  # noqa: B018  made here, so that what is missing is told once
        except UnavailableError as reason:
            yield Outcome("every case", source.name, [], str(reason))
            continue
        for case in CASES:
            if case.name in cases and source.name not in case.inputs:
                if len(cases) < len(CASES) and len(inputs) < len(SOURCES):
                    yield Outcome(
                        case.name, source.name, [], f"the case has no such input, but {', '.join(case.inputs)}"
                    )
            elif case.name in cases:
                yield _run_case(case, volume, compared, effort, setting, looks.get((case.name, source.name)))
        del volume


def _looks(cases: Collection[str], inputs: Collection[str]) -> dict[tuple[str, str], Look]:
    """Look at our results by case and input; what breaks here is told when it is timed."""
    looks: dict[tuple[str, str], Look] = {}
    compiled: set[str] = set()
    for source in SOURCES:
        if source.name in inputs:
            volume = Volume(source)
            for case in CASES:
                if case.name in cases and source.name in case.inputs:
                    with suppress(Exception):
                        looks[case.name, source.name] = look(case.prepare(volume), is_compiled=case.name in compiled)
                        compiled.add(case.name)
            del volume
    return looks


def _run_case(
    case: Case, volume: Volume, compared: dict[str, Volume], effort: Effort, setting: Setting, seen: Look | None
) -> Outcome:
    try:
        contest = case.prepare(volume)
        if volume.source.smaller:
            contest = replace(contest, peers=[])  # the larger size tells how our time grows; peers take minutes
        contest, missing = _with_installed_peers(contest)
        if any(peer.package == "waterz" for peer in contest.peers):
            import waterz  # noqa: F401  what a peer needs is there before its memory is measured

            volume.affinities_float  # noqa: B018
        others = _others(case, volume.source, compared)
        records = measure(case.name, volume.name, contest, effort, setting, seen, others)
    except (UnavailableError, ImportError) as reason:
        return Outcome(case.name, volume.name, [], str(reason))
    except Exception:  # one broken case must not cost the others their figures
        return Outcome(case.name, volume.name, [], traceback.format_exc(), has_failed=True)
    return Outcome(case.name, volume.name, records, missing)


def _others(case: Case, source: Source, compared: dict[str, Volume]) -> dict[str, Contest]:
    """Prepare the case on what an input made to hurt is compared with; `compared` keeps the volumes."""
    names = [REFERENCE, source.smaller] if source.name in ADVERSARIAL else []
    others = {}
    for each in SOURCES:
        if each.name in names and each.name in case.inputs:
            volume = compared.setdefault(each.name, Volume(each))
            with suppress(UnavailableError):
                others[each.name] = case.prepare(volume)
    return others


def _with_installed_peers(contest: Contest) -> tuple[Contest, str]:
    missing = []
    for package in dict.fromkeys(peer.package for peer in contest.peers):
        try:
            version(package)
        except PackageNotFoundError:
            missing.append(package)
    peers = [peer for peer in contest.peers if peer.package not in missing]
    text = f"{', '.join(missing)} not installed: pip install -c constraints.txt -e '.[bench]'" if missing else ""
    return replace(contest, peers=peers), text
