"""Artifact types of this project."""

from tfx.types import artifact


class Tokenizer(artifact.Artifact):
    """A vocabulary: `spm.model` (or the name it came with), its `.vocab`, `tokenizer_config.json`; its fingerprint is a
    custom property.
    """

    TYPE_NAME = "components.Tokenizer"


class ParityReport(artifact.Artifact):
    """The proof of a conversion: `parity.json` (see `albert_model.weights.parity.Report`)."""

    TYPE_NAME = "components.ParityReport"


class Report(artifact.Artifact):
    """What a run came to, for people: `report.html`."""

    TYPE_NAME = "components.Report"


class ProbeResult(artifact.Artifact):
    """What fine-tuning on a labelled set came to: `probe.json`."""

    TYPE_NAME = "components.ProbeResult"


class EncoderPackage(artifact.Artifact):
    """Every file of an encoder package but its model card and manifest."""

    TYPE_NAME = "components.EncoderPackage"
