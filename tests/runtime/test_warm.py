"""A worker that starts with a warm cache compiles nothing."""

from connectome.runtime.warm import PARAMETERS, SEGMENTING, segmentations
from connectome.stages import registry


def test_every_choice_of_every_stage_is_run():
    ran = [{stage["stage"]: stage for stage in stages} for stages in segmentations()]
    assert {stage["linkage"] for stages in ran for stage in stages.values() if "linkage" in stage} == {
        "maximum",
        "quantile",
    }
    assert any(stages["fragments"].get("flavour") == "affinity" for stages in ran)
    assert any(stages["fragments"].get("per_section") for stages in ran)
    for stages in ran:
        for name in SEGMENTING:
            registry()[name].model_validate(stages[name])
    assert all(any(key in registry()[name].model_fields for name in SEGMENTING) for key in PARAMETERS)


def test_every_stage_is_run():
    """The network is torch's, which compiles nothing."""
    assert {"phantom", *SEGMENTING} == set(registry()) - {"affinities"}
