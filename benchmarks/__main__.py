"""`python -m benchmarks [CASE ...] [--input INPUT ...]`: our kernels beside their peers, on one core."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import machine, records


def main() -> int:
    """Run what is asked for, write the records, and tell what could not run."""
    core = machine.take_one_core()
    from benchmarks import suite
    from benchmarks.cases import CASES
    from benchmarks.inputs import SOURCES
    from benchmarks.measure import Effort, Setting

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", help="cases to run; all where none is named")
    parser.add_argument("--input", action="append", help="input to run on, may be repeated; all where not given")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small inputs and few repeats, for a look: the records go to build/benchmarks",
    )
    parser.add_argument("--list", action="store_true", help="tell the cases and their inputs, and run nothing")
    arguments = parser.parse_args()
    if arguments.list:
        for case in CASES:
            print(f"{case.name}: {', '.join(case.inputs)}")
        return 0
    cases = arguments.case or [case.name for case in CASES]
    inputs = arguments.input or [source.name for source in SOURCES if source.is_quick or not arguments.quick]
    for given, known, what in (
        (cases, [case.name for case in CASES], "case"),
        (inputs, [source.name for source in SOURCES], "input"),
    ):
        for name in given:
            if name not in known:
                parser.error(f"there is no {what} {name!r}: choose from {', '.join(known)}")

    setting = Setting(machine.hardware(), machine.commit(), machine.copy_bandwidth())
    bandwidth = setting.bandwidth_bytes_per_s / 1e9
    print(f"{setting.hardware}, core {core}, copies {bandwidth:.1f} GB/s, commit {setting.commit}", flush=True)
    effort = Effort(least=2, most=3, seconds=1.0) if arguments.quick else Effort()
    is_whole = not (arguments.case or arguments.input)
    latest = machine.ROOT / "build" / "benchmarks" / "quick.jsonl" if arguments.quick else records.LATEST
    old = [] if is_whole or not latest.exists() else records.read_records(latest)
    made: list[records.Record] = []
    n_failed = 0
    start = time.perf_counter()
    for outcome in suite.run(cases, inputs, effort, setting):
        for record in outcome.records:
            print(f"{time.perf_counter() - start:5.0f} s  {summary(record)}", flush=True)
        if outcome.skipped:
            verb = "FAILED" if outcome.has_failed else "left out"
            print(f"{outcome.case} on {outcome.input} {verb}: {outcome.skipped.strip()}", file=sys.stderr, flush=True)
        made += outcome.records
        n_failed += outcome.has_failed
        records.write_records(latest, records.replaced(old, made))
    if not arguments.quick:
        records.append_records(records.HISTORY, made)
    print(f"{len(made)} records in {latest.relative_to(machine.ROOT)}, {n_failed} cases failed")
    return 1 if n_failed else 0


def summary(record: records.Record) -> str:
    """Tell a record in one line."""
    line = f"{record.case:22} {record.input:22} {record.voxels_per_s / 1e6:7.1f} Mvoxel/s"
    if record.bytes_per_voxel is not None:
        line += f" {record.bytes_per_voxel:6.1f} B/voxel"
    if record.ratio is not None:
        line += f"  {record.ratio:6.2f} x {record.peer} ({record.ratio_min:.2f}-{record.ratio_max:.2f})"
    if record.quality and record.quality["peer"]:
        line += f"  VOI {record.quality['ours']['voi']:.3f}, peer {record.quality['peer']['voi']:.3f}"
    return line


if __name__ == "__main__":
    sys.exit(main())
