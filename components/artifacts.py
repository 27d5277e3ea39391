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
