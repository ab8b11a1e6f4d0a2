"""The audit finds damage of every kind, and nothing where there is none."""

import json
import shutil

import numpy as np
import pytest

from connectome import cli
from connectome.errors import InputError
from connectome.runtime.audit import _codes, audit
from connectome.runtime.engine import execute
from connectome.runtime.events import TasksDone
from connectome.runtime.prepare import prepare
from connectome.runtime.recorder import Recorder, recall
from connectome.runtime.run import replay, run
from connectome.runtime.serial import SerialRunner
from connectome.store.dataset import Dataset
from connectome.store.volume import Volume
from connectome.workflow.plan import Task
from connectome.workflow.workflow import Workflow
from tests.tissue import workflow_content


@pytest.fixture(scope="module")
def whole(stored_affinities, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited") / "run"
    run(Workflow.parse(workflow_content(folder, stored_affinities[0])), runner="serial")
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to damage; its paths are its own."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def first_shard(folder, volume="segmentation"):
    return sorted(p for p in (folder / "volumes" / volume / "0" / "c").rglob("*") if p.is_file())[0]


def test_a_whole_dataset_is_clean(folder):
    found = audit(str(folder), every=True)
    assert found.sentences == found.remarks == []
    assert (found.n_blocks, found.n_recomputed, found.n_repeated) == (18, 18, 0)
    assert found.n_parts > 18 * 5


def test_tasks_computed_again_are_counted_and_no_finding(folder):
    replay(str(folder), Task("fragments", 0, (0, 1, 2)))
    found = audit(str(folder))
    assert (found.sentences, found.n_repeated) == ([], 1)


def test_what_cannot_be_looked_at_is_said(stored_affinities, tmp_path, capsys, monkeypatch):
    content = workflow_content(tmp_path, stored_affinities[0])
    content["stages"][0]["keep"] = False
    run(Workflow.parse(content), runner="serial")
    found = audit(str(tmp_path), every=True)
    assert (found.sentences, found.n_recomputed) == ([], 0)
    (remark,) = found.remarks
    assert "cannot be compared with its fragments" in remark
    assert call(monkeypatch, tmp_path) == 0
    assert remark in capsys.readouterr().out
    assert call(monkeypatch, tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["remarks"] == [remark]


def test_what_other_code_made_is_said(folder):
    remark = "2 versions of the package's code made these results"
    first = sorted((folder / "ledger").glob("*.jsonl"))[0]
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    place = next(n for n, line in enumerate(lines) if line["kind"] == "receipt") + 1
    lines.insert(place, {**next(line for line in lines if line["kind"] == "session"), "code": "other"})
    rewritten = [json.dumps(line, separators=(",", ":")) for line in lines]
    first.write_text("\n".join(rewritten) + "\n")
    found = audit(str(folder))
    assert found.sentences == []
    assert [remark in text for text in found.remarks] == [True]


def test_code_whose_results_were_struck_is_none_that_made_them():
    class Written:
        def legible_records(self):
            for code in ("old", "new"):
                yield {"kind": "reset", "stages": ["fragments", "fragments.reduce", "fragments.expand"]}
                yield {"kind": "session", "code": code}
                yield {"kind": "receipt", "stage": "affinities+fragments"}

    assert _codes(Written()) == {"new"}


def test_a_run_that_stopped_is_told_to_go_on(stored_affinities, tmp_path):
    class Stop(Exception):
        """Ends the driver, as a kill would."""

    def stop(event):
        if isinstance(event, TasksDone) and event.receipt.stage == "edges":
            recorder.flush()
            raise Stop

    plan, dataset = prepare(Workflow.parse(workflow_content(tmp_path / "run", stored_affinities[0])))
    progress, accounts = recall(dataset, plan)
    recorder = Recorder(dataset, accounts)
    with pytest.raises(Stop):
        execute(plan, SerialRunner(plan, dataset), progress, [recorder, stop])
    found = audit(str(tmp_path / "run"))
    *told, others = found.sentences
    assert all(each.endswith("run the workflow again to go on") for each in told)
    assert others.endswith("more passes with tasks undone")
    assert "segmentation was not looked at: segmentation has tasks without a receipt" in found.remarks


def lose_receipts(folder):
    lost = 0
    for part in (folder / "ledger").glob("*.jsonl"):
        lines = part.read_text().splitlines()
        kept = [line for line in lines if '"stage":"segmentation"' not in line]
        part.write_text("\n".join(kept) + "\n")
        lost += len(lines) - len(kept)
    assert lost
    return "tasks of segmentation have no receipt"


def damage_ledger(folder):
    part = sorted((folder / "ledger").iterdir())[0]
    part.write_text(part.read_text()[:-20])
    return "ledger"


def lose_shard(folder):
    first_shard(folder).unlink()
    return "is missing"


def lose_pyramid(folder):
    shutil.rmtree(folder / "volumes" / "segmentation" / "1" / "c")
    return "segmentation/1/c/0/0/0 is missing"


def add_shard(folder):
    first = first_shard(folder)
    (first.parent / "77").write_bytes(first.read_bytes())
    return "belongs to no block"


def lose_part(folder):
    (folder / "tables" / "edges" / "0" / "0_1_1.parquet").unlink()
    return "tables/edges/0/0_1_1.parquet is missing"


def add_part(folder):
    (folder / "tables" / "edges" / "0" / "9_1_1.parquet").write_bytes(b"")
    return "9_1_1.parquet belongs to no task"


def damage_part(folder):
    (folder / "tables" / "names" / "0" / "0_1_1.parquet").write_bytes(b"PAR1 nonsense")
    return "0_1_1.parquet cannot be read"


def leave_partial(folder):
    first = first_shard(folder)
    first.with_name(first.name + ".__lock").write_bytes(b"half")
    return "cut short"


def damage_shard(folder):
    first = first_shard(folder, "fragments")
    content = bytearray(first.read_bytes())
    content[len(content) // 3 : len(content) // 2] = b"\xff" * (len(content) // 2 - len(content) // 3)
    first.write_bytes(bytes(content))
    return "makes it again"


def change_segment(folder):
    """Give a block other labels than its names."""
    volume = Volume.open(f"{folder}#segmentation")
    block = Dataset.at(str(folder)).read_record()["plan"]["workflow"]["grid"]["block"]
    box = volume.box.intersect(type(volume.box)((block[0], 0, 0), (2 * block[0], block[1], block[2])))
    labels = volume.read(box)
    labels[labels > 0] += np.uint64(1)
    volume.write(box, labels)
    return "is not what its fragments and names give"


def disagree(folder):
    """Of two neighbouring blocks one got other labels."""
    change_segment(folder)
    return "lie in two segments"


DAMAGES = [
    lose_receipts,
    damage_ledger,
    lose_shard,
    lose_pyramid,
    add_shard,
    lose_part,
    add_part,
    damage_part,
    leave_partial,
    damage_shard,
    change_segment,
    disagree,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found(damage, folder):
    sentence = damage(folder)
    found = audit(str(folder), every=True)
    assert any(sentence in each for each in found.sentences), found.sentences


def test_the_command_that_the_audit_names_mends_a_table(folder):
    (folder / "tables" / "edges" / "0" / "0_1_2.parquet").unlink()
    (folder / "tables" / "node_clusters" / "1" / "0_0_0.parquet").write_bytes(b"no parquet")
    commands = [sentence.partition("connectome ")[2].split()[:3] for sentence in audit(str(folder)).sentences]
    assert {task for _, _, task in commands} >= {"edges:0,1,2", "agglomeration.reduce@1:0,0,0"}
    for word, url, task in commands:
        if task:
            assert (word, url) == ("replay", str(folder))
            replay(url, Task.parse(task))
    assert audit(str(folder)).sentences == []


def test_many_findings_are_counted(folder):
    shutil.rmtree(folder / "tables" / "clusters")
    found = audit(str(folder))
    assert sum("clusters" in each for each in found.sentences) == 3
    assert "15 more missing parts of tables" in found.sentences


def test_no_dataset_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no dataset"):
        audit(str(tmp_path / "none"))


def call(monkeypatch, *arguments):
    """Return the exit code of the command."""
    monkeypatch.setattr("sys.argv", ["connectome", "audit", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as error:
        return error.code or 0
    return 0


def test_command(folder, monkeypatch, capsys):
    assert call(monkeypatch, folder) == 0
    assert "clean" in capsys.readouterr().out
    first_shard(folder).unlink()
    assert call(monkeypatch, folder, "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["findings"]) == 1
