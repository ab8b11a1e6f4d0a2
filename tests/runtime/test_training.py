"""Training configurations as people write them."""

import pytest

from connectome.errors import InputError
from connectome.runtime.training import load_training
from tests.conftest import ROOT

VNC = str(ROOT / "workflows" / "train" / "vnc_stack1.yaml")
FILLING = str(ROOT / "workflows" / "train" / "flood_filling_phantom.yaml")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("pach=[4,96,96]", r"unknown key 'pach' \(did you mean 'patch'\?\)"),
        ("scoring.ever=3", r"unknown key 'scoring\.ever' \(did you mean 'every'\?\); known are every, patience"),
        ("classes.synapse.focs=1", r"unknown key 'classes\.synapse\.focs' \(did you mean 'focus'\?\)"),
        ("cross_validation.held_out=4", "numbered from 0: got held_out 4"),
        ("kind=[unet]", r"kind is \['unet'\], wanted one of unet, flood_filling"),
        ("steps=0", r"vnc_stack1\.yaml --set steps=0: steps is 0: input should be greater than 0"),
    ],
)
def test_a_bad_key_is_refused_with_a_sentence(setting, message):
    with pytest.raises(InputError, match=message):
        load_training(VNC, [setting])


def test_an_unknown_key_of_a_source_is_refused_with_those_known(tmp_path):
    text = (ROOT / "workflows" / "train" / "fib25.yaml").read_text().replace("    labels:", "    lables:")
    (tmp_path / "fib25.yaml").write_text(text)
    with pytest.raises(InputError, match=r"unknown key 'sources\.0\.lables' \(did you mean 'labels'\?\)"):
        load_training(str(tmp_path / "fib25.yaml"), [])


def test_settings_change_the_file(tmp_path):
    config = load_training(VNC, ["cross_validation.held_out=2", f"folder={tmp_path}"])
    assert config.network_name == "vnc_stack1_fold2"
    assert config.folder == str(tmp_path)


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(InputError, match="kind is 'forest', wanted one of unet, flood_filling"):
        load_training(VNC, ["kind=forest"])


def test_flood_filling_networks_have_keys_of_their_own(tmp_path):
    config = load_training(FILLING, ["depth=5", f"folder={tmp_path}"])
    assert (config.depth, config.deltas) == (5, (2, 2, 2))
    with pytest.raises(InputError, match=r"unknown key 'dept' \(did you mean 'depth'\?\)"):
        load_training(FILLING, ["dept=3"])
