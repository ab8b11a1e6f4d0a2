"""A workflow: YAML that names a dataset and a list of stages. A value; nothing runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from connectome.errors import InputError
from connectome.geometry import Triple
from connectome.stages import Stage, registry
from connectome.stages.fused import fused
from connectome.store.url_secrets import secret_in
from connectome.workflow.yaml_file import parse_yaml, read_yaml

VOLUME_INPUTS = ("image", "mask", "affinities", "truth")
"""Volumes that a workflow may take from outside, under ``dataset``."""
FROM_EDGES = ("affinities", "fragments", "face_links", "clusters", "edges", "seam", "alias")
"""Artifacts that ``dataset.edges`` stands for: those of another dataset, up to its edges."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class DatasetSection(_Section):
    """Where results go and where the volumes come from."""

    url: str = Field(min_length=1)
    """Path or URL of the dataset that the run writes."""
    image: str | None = None
    """The raw volume, unless a stage makes it."""
    mask: str | None = None
    """Where there is something to segment (uint8, not 0), for stages that read a mask."""
    affinities: str | None = None
    """Stored affinities (uint8, c z y x) to start from: of pairs along z, y and x; further channels are not read. The
    affinities stage is then left out."""
    edges: str | None = None
    """A dataset to start from whose fragments and edges are made; stages before agglomeration are then left out."""
    truth: str | None = None
    """Dense truth to score the segmentation with, unless a stage makes it."""
    voxel_size_nm: tuple[float, float, float] | None = None
    """Voxel size (z, y, x) where the volume does not state it."""

    @field_validator("url", "image", "mask", "affinities", "edges", "truth")
    @classmethod
    def _without_secret(cls, url: str | None) -> str | None:
        """Refuse a secret where it is given: not every URL is opened, and all are kept in the dataset's record."""
        if url is not None and (refusal := secret_in(url)):
            raise ValueError(refusal)
        return url

    @field_validator("voxel_size_nm")
    @classmethod
    def _positive(cls, size: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if size is not None and min(size) <= 0:
            raise ValueError(f"three positive lengths in nm (z, y, x) are wanted, got {size}")
        return size


class GridSection(_Section):
    """How the volume is cut into blocks. The result does not depend on it."""

    block: Triple = (128, 128, 128)
    """Block shape (z, y, x) in voxels."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Memory of a worker in GB (10^9 bytes): a task that does not fit is refused before anything runs."""

    @field_validator("block")
    @classmethod
    def _positive(cls, block: Triple) -> Triple:
        if min(block) < 1:
            raise ValueError(f"three positive numbers of voxels (z, y, x) are wanted, got {block}")
        return block


class Workflow(_Section):
    """What to do with which volume."""

    description: str = ""
    """One sentence for people."""
    dataset: DatasetSection
    grid: GridSection = GridSection()
    stages: tuple[SerializeAsAny[Stage], ...] = Field(min_length=1)
    """Stages in order; each reads what the dataset or an earlier stage provides."""
    attempts: int = Field(default=3, ge=1)
    """How often a failing block is tried before it is quarantined."""

    @field_validator("stages", mode="before")
    @classmethod
    def _by_name(cls, stages: Any) -> tuple[Stage, ...]:
        if not isinstance(stages, list | tuple):
            raise ValueError(f"a list of stages is wanted, got {stages!r}")  # noqa: TRY004
        return tuple(_stage(entry) for entry in stages)

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        provided = self._given
        writers: dict[str, str] = {}
        for stage in self.running_stages:
            stage.check_beside(self.running_stages)
            for name in stage.inputs:
                if name not in provided and name not in writers:
                    raise ValueError(_nobody_writes(stage.name, name, self.running_stages))
            for artifact in stage.outputs:
                if artifact.name in writers or artifact.name in provided:
                    other = writers.get(artifact.name, f"dataset.{artifact.name}")
                    raise ValueError(
                        f"stage {stage.name} writes {artifact.name!r}, but so does {other}: keep one of them"
                    )
                writers[artifact.name] = f"stage {stage.name}"
        fused(self.running_stages)
        return self

    @property
    def running_stages(self) -> tuple[Stage, ...]:
        """Stages that run: not those whose only volume is given under ``dataset``."""
        given = self._given
        return tuple(
            stage
            for stage in self.stages
            if not (stage.outputs and {artifact.name for artifact in stage.outputs} <= given)
        )

    @property
    def _given(self) -> set[str]:
        """Artifacts that come from outside."""
        volumes = {name for name in VOLUME_INPUTS if getattr(self.dataset, name) is not None}
        return volumes | (set(FROM_EDGES) if self.dataset.edges is not None else set())

    @classmethod
    def load(cls, path: str, settings: Sequence[str] = ()) -> Workflow:
        """Read a YAML file and apply settings written ``key.sub=value``."""
        content = load_yaml(path)
        for setting in settings:
            apply_setting(content, setting)
        return cls.parse(content, source=described(path, settings))

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "workflow") -> Workflow:
        """Check plain values; raise InputError with one sentence."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{source}: {sentence_of(error, cls)}") from error

    def plain(self) -> dict[str, Any]:
        """Return the workflow as plain values that `parse` reads."""
        return self.model_dump(mode="json")


def load_yaml(path: str) -> dict[str, Any]:
    """Read a YAML file of keys and values."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no keys and values: see workflows/ for examples")
    return content


def described(path: str, settings: Sequence[str]) -> str:
    """Return where values come from that a file and settings give."""
    return " ".join([path, *(f"--set {setting}" for setting in settings)])


def apply_setting(content: dict[str, Any], setting: str) -> None:
    """Set one value of a workflow in place.

    ``dataset.url=...``, ``grid.block=...`` and ``attempts=...`` address sections; any other first word
    is a stage's name.
    """
    if "=" not in setting:
        raise InputError(f"--set takes key.sub=value, got {setting!r}: add = and the value")
    first = setting.partition("=")[0].split(".")[0].strip()
    if first in Workflow.model_fields or "." not in setting.partition("=")[0]:
        set_value(content, setting)
    else:
        stages = content.get("stages")
        named = [s for s in stages or () if isinstance(s, dict) and s.get("stage") == first]
        if not named:
            known = [s.get("stage") for s in stages or () if isinstance(s, dict)] + list(Workflow.model_fields)
            raise InputError(
                f"--set {setting}: {first!r} is no section and no stage of this workflow"
                f"{_suggestion(first, known)}; there are {', '.join(map(str, known))}"
            )
        set_value(named[0], setting.strip().removeprefix(f"{first}."))


def set_value(content: dict[str, Any], setting: str) -> None:
    """Set the value at ``key.sub=value`` in place."""
    key, separator, text = setting.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise InputError(f"--set takes key.sub=value, got {setting!r}")
    target = content
    for part in path[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise InputError(f"--set {setting}: {part!r} holds a value, not keys")
    target[path[-1]] = _value(text)


def _value(text: str) -> Any:
    """Read a value as YAML; ``64,64,64`` and ``(50, 70, 90)`` are lists."""
    stripped = text.strip()
    if stripped.startswith("(") and stripped.endswith(")"):
        stripped = stripped[1:-1]
    parts = [part.strip() for part in stripped.split(",")]
    if len(parts) == 3 and all(part.replace(".", "", 1).isdigit() for part in parts):
        return [parse_yaml(part) for part in parts]
    try:
        return parse_yaml(text)
    except ValueError:
        return text


def _stage(entry: Any) -> Stage:
    if isinstance(entry, Stage):
        return entry
    name = entry.get("stage") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"a stage is written `- stage: name` with its parameters below, got {entry!r}")  # noqa: TRY004
    if name not in registry():
        known = list(registry())
        raise ValueError(f"there is no stage {name!r}{_suggestion(str(name), known)}; there are {', '.join(known)}")
    try:
        return registry()[name].model_validate(entry)
    except ValidationError as error:
        raise ValueError(f"stage {name}: {sentence_of(error, registry()[name])}") from error


def _nobody_writes(stage: str, name: str, stages: Sequence[Stage]) -> str:
    writer = next((s for s, cls in registry().items() if name in [a.name for a in cls.outputs]), None)
    ways = []
    if name in VOLUME_INPUTS:
        ways.append(f"set dataset.{name}")
    if writer is not None:
        place = "before it" if writer in [s.name for s in stages] else "to the stages before it"
        ways.append(f"{'move' if place == 'before it' else 'add'} stage {writer} {place}")
    return f"stage {stage} reads {name!r}, which nobody writes: {' or '.join(ways) or 'no stage writes it'}"


def sentence_of(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn one of pydantic's complaints into a sentence: where, got, wanted. A key that is unknown comes first."""
    complaints = error.errors()
    first = next((each for each in complaints if each["type"] == "extra_forbidden"), complaints[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = _fields_at(model, first["loc"][:-1])
        name = str(first["loc"][-1])
        return f"unknown key {where!r}{_suggestion(name, fields)}; known are {', '.join(fields)}"
    if first["type"] == "tuple_type" or (first["type"] == "missing" and isinstance(first["loc"][-1], int)):
        return f"{where} is {first['input']!r}: three numbers (z, y, x) are wanted"
    if first["type"] == "missing":
        return f"the key {where!r} is missing"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return f"{where}: {message}" if where and where not in message and where != "stages" else message
    return f"{where} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Return the keys that are known at a place of a model; none where the place is no model's."""
    skips = False
    for part in path:
        if skips:  # A number in a list, or a name in a mapping: of what it holds the model is known.
            skips = False
            continue
        annotation = model.model_fields[str(part)].annotation
        inside = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]
        models = [each for each in inside if issubclass(each, BaseModel)]
        if not models:
            return []
        model, skips = models[0], get_origin(annotation) in (tuple, dict)
    return list(model.model_fields)


def _suggestion(name: str, known: Sequence[Any]) -> str:
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
