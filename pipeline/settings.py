"""The settings of a pipeline: a YAML file, validated into frozen typed models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from albert_model.config import AlbertConfig, describe
from albert_model.errors import InputError
from albert_model.evaluation.probe_settings import ProbeSettings
from albert_model.evaluation.settings import JudgeSettings
from albert_model.publishing.versions import PushSettings as PackageSettings
from albert_model.settings import Settings
from albert_model.text.documents import DocumentSettings
from albert_model.text.mixing import MixingSettings
from albert_model.text.settings import ExampleSettings
from albert_model.text.vocabulary_training import TokenizerSettings
from albert_model.training.settings import TrainingSettings
from albert_model.weights.settings import ReadOptions
from pipeline.cloud.settings import CloudSettings, Target
from pipeline.metadata_settings import MetadataSettings
from pipeline.schedule.settings import ScheduleSettings


class CorpusSettings(MixingSettings, DocumentSettings):
    """Where the text is, and how it becomes documents."""

    path: str = pydantic.Field(min_length=1, description="Folder of the spans.")
    pattern: str = pydantic.Field(
        default="span-{SPAN}/*/*.txt*",
        description="Files below `path`, plain or .gz. {SPAN}, or {YYYY}, {MM} and {DD}, stand for the span; the "
        "folder between the span and the file is the domain.",
    )
    span: int | Literal["latest"] = pydantic.Field(
        default="latest",
        description="The span to train on; a date is its days since 1970-01-01. latest: the highest number there is.",
    )
    eval_fraction: float = pydantic.Field(
        default=0.1,
        ge=0.001,
        le=0.999,
        description="Share of documents that is held out, chosen by a hash of their text.",
    )
    files_fingerprint: str = pydantic.Field(
        default="",
        description="Filled in when a run starts: another one when files changed that no driver of TFX looks at.",
    )


class InitialSettings(ReadOptions):
    """Weights to start from where no model is blessed yet. They are converted, and proven to compute the same."""

    source: str | None = pydantic.Field(
        default=None,
        description="A TF-Hub module, SavedModel, checkpoint, Hugging Face folder, H5 file or encoder package: folder, "
        "file, archive or address. None: random weights.",
    )
    files_fingerprint: str = pydantic.Field(
        default="", description="Filled in when a run starts: another one when the source's files changed."
    )


class AnchorSettings(Settings):
    """Optional: general text that the model must not forget, frozen, so the same for every span."""

    path: str = pydantic.Field(min_length=1, description="Folder of the text.")
    pattern: str = pydantic.Field(
        default="*/*.txt*", description="Files below `path`; the folder that a file is in is its domain."
    )


class OptionalProbeSettings(ProbeSettings):
    """Optional: a labelled set on which quick classifiers of both models are compared, as a further gate."""

    known_fingerprint: str = pydantic.Field(
        default="", description="Filled in when a run starts: another one when the files changed."
    )


class EvaluationSettings(JudgeSettings):
    __doc__ = JudgeSettings.__doc__

    anchor: AnchorSettings | None = None
    probe: OptionalProbeSettings | None = None

    def with_paths(self, change: Callable[[str], str]) -> EvaluationSettings:
        """These settings with each path changed."""
        anchor = self.anchor and self.anchor.model_copy(update={"path": change(self.anchor.path)})
        return self.model_copy(update={"anchor": anchor, "probe": self.probe and self.probe.with_paths(change)})


class PushSettings(PackageSettings):
    """Where blessed encoders go."""

    destination: str = pydantic.Field(
        min_length=1, description="Folder of the versions, or a path such as gs://bucket/encoders."
    )


class BeamSettings(Settings):
    """How Beam runs."""

    args: tuple[str, ...] = pydantic.Field(
        default=("--runner=FnApiRunner",), description="Options of the Beam components' pipelines."
    )


def _read_model_config(value: Any) -> Any:
    return AlbertConfig.from_file(value) if isinstance(value, str) else value


class PipelineSettings(Settings):
    """All settings of a pipeline. Relative paths count from the folder that the command is run in."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Of the pipeline, in the metadata.")
    root: str = pydantic.Field(min_length=1, description="Folder of all artifacts, metadata, checkpoints and logs.")
    corpus: CorpusSettings
    model: Annotated[AlbertConfig, pydantic.BeforeValidator(_read_model_config)] = pydantic.Field(
        description="An albert_config.json, or its fields."
    )
    start: Literal["latest", "random"] = pydantic.Field(
        default="latest",
        description="latest: from the newest blessed model that was there before this text, else from `initial`. "
        "random: from scratch.",
    )
    initial: InitialSettings = InitialSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    examples: ExampleSettings = ExampleSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    push: PushSettings
    beam: BeamSettings = BeamSettings()
    metadata: MetadataSettings = MetadataSettings()
    schedule: ScheduleSettings | None = None
    cloud: CloudSettings | None = None

    @pydantic.model_validator(mode="after")
    def _lengths_fit(self) -> PipelineSettings:
        if self.examples.max_seq_length > self.model.max_position_embeddings:
            raise ValueError(
                f"examples.max_seq_length {self.examples.max_seq_length} is more than "
                f"max_position_embeddings {self.model.max_position_embeddings} of the model"
            )
        return self

    def beam_args(self, target: Target) -> tuple[str, ...]:
        """Beam's options there."""
        there = None if target == "local" or self.cloud is None else self.cloud.beam_args
        return self.beam.args if there is None else there

    def with_span(self, span: int | Literal["latest"]) -> PipelineSettings:
        return self.model_copy(update={"corpus": self.corpus.model_copy(update={"span": span})})


def load_settings(path: str | Path, overrides: dict[str, Any] | None = None) -> PipelineSettings:
    """Reads and validates a pipeline's YAML file.

    Args:
      path: the file.
      overrides: values by dotted key (`training.max_steps`) that go before the file's.

    Raises:
      InputError: names the file, the key and what was expected.
    """
    values = _read_yaml(path)
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    try:
        return _with_absolute_paths(PipelineSettings.model_validate(values))
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from error


def _with_absolute_paths(settings: PipelineSettings) -> PipelineSettings:
    """Metadata and caches outlive the folder that a command is run in."""
    initial = settings.initial
    if initial.source:
        initial = initial.model_copy(update={"source": _absolute(initial.source)})
    return settings.model_copy(
        update={
            "root": _absolute(settings.root),
            "corpus": settings.corpus.model_copy(update={"path": _absolute(settings.corpus.path)}),
            "initial": initial,
            "metadata": settings.metadata.with_path(_absolute),
            "evaluation": settings.evaluation.with_paths(_absolute),
            "push": settings.push.model_copy(update={"destination": _absolute(settings.push.destination)}),
        }
    )


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _read_yaml(path: str | Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Give the path of a pipeline's YAML file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: should hold keys and values, such as `name: my-pipeline`.")
    return values


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise InputError(
                f"--set {key}: {section} is no section. Set {section} itself, or write its keys in the file."
            )
    values[last] = value
