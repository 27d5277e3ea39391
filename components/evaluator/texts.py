"""The held-out texts that models are scored on, and their examples as a model reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils import shared
from tfx import types

from albert_model.errors import InputError
from albert_model.text.examples import decode_documents, encode_examples, make_examples
from albert_model.text.packing import pack, predictions_per_row
from albert_model.text.settings import ExampleSettings
from albert_model.weights.package import VOCABULARY
from components import manifests
from components.model_layout import package_folder, serving_folder
from components.remote import read_vocabulary
from components.sharding import NameFiles, ReadInBatches, split_files

HELD_OUT = ("eval",)
_BATCH = 32  # documents made into examples at once
# Settings that say nothing of examples that are held out; see `_of_held_out`.
_OF_TRAINING = ("dupe_factor", "masking", "packing", "bin_width", "examples_per_row")


@dataclass(frozen=True)
class Text:
    """A text to score models on.

    Attributes:
      name: as in the verdict.
      documents: the artifact's folder.
      splits: of the documents, to score on; HELD_OUT or, of a text that nothing was trained on, SPLITS.
      examples: folder of examples that were made of them; None if there are none.
    """

    name: str
    documents: str
    splits: tuple[str, ...]
    examples: str | None


@dataclass(frozen=True)
class ScoredModel:
    """A model, and how it reads text.

    Attributes:
      saved_model: folder of the SavedModel.
      vocabulary: folder of its vocabulary.
      fingerprint: of its tokenizer.
      settings: of the examples that it was trained on.
      examples, documents: folders of these examples and of the documents that they were made of.
    """

    saved_model: str
    vocabulary: str
    fingerprint: str
    settings: ExampleSettings
    examples: str
    documents: str

    @staticmethod
    def of(artifact: types.Artifact) -> ScoredModel:
        """Reads what the Trainer wrote beside the model.

        Raises:
          InputError: it is of an earlier version of this project.
        """
        package = package_folder(artifact.uri)
        training = manifests.read_training(artifact.uri)
        examples = training["examples"]
        if "documents_uri" not in examples:
            raise InputError(
                f"{package}: was trained by an earlier version, whose models cannot be compared with. Choose another "
                "root, and give this model as initial.source to start from it."
            )
        return ScoredModel(
            saved_model=serving_folder(artifact.uri),
            vocabulary=os.path.join(package, VOCABULARY),
            fingerprint=training["tokenizer_fingerprint"],
            settings=ExampleSettings.model_validate(examples["settings"]),
            examples=examples["uri"],
            documents=examples["documents_uri"],
        )


def shared_settings(candidate: ScoredModel, baseline: ScoredModel) -> tuple[ExampleSettings, ExampleSettings]:
    """The settings of examples by which both models are asked the same, of each one's vocabulary.

    The lengths are the longest that both can read. Where one was trained on packed rows, its records look otherwise,
    and hold the same examples.
    """
    settings = (candidate.settings, baseline.settings)
    law = {
        "max_seq_length": min(each.max_seq_length for each in settings),
        "max_predictions_per_seq": min(
            min(each.max_predictions_per_seq, predictions_per_row(each)) for each in settings
        ),
    }
    of_baseline = law | {key: getattr(baseline.settings, key) for key in _OF_TRAINING}
    ours, theirs = (candidate.settings.model_copy(update=update) for update in (law, of_baseline))
    return ours, theirs


class HeldOutExamples(beam.PTransform):
    """Serialised examples of a text: those that were made of it if the model can read them, else made anew.

    Args:
      text: what to read.
      model: that is to read it.
      settings: of the examples.
    """

    def __init__(self, text: Text, model: ScoredModel, settings: ExampleSettings):
        super().__init__()
        self._text, self._model, self._settings = text, model, settings

    def expand(self, pipeline):
        text = self._text
        if text.examples and _are_made_so(text.examples, self._model.fingerprint, self._settings):
            files = _files(text.examples, text.splits)
            return pipeline | "ListFiles" >> NameFiles(files) | "ReadExamples" >> beam.io.ReadAllFromTFRecord()
        return (
            pipeline
            | "ReadDocuments" >> ReadInBatches(_files(text.documents, text.splits), _BATCH)
            | "MakeExamples" >> beam.ParDo(_MakeHeldOutExamples(self._model.vocabulary, self._settings))
        )


def is_there(text: Text) -> bool:
    return bool(_files(text.documents, text.splits))


def sentences(text: Text) -> Iterator[str]:
    """Of its documents, as they come."""
    for record in tf.data.TFRecordDataset(_files(text.documents, text.splits)).as_numpy_iterator():
        (document,) = decode_documents([record])
        yield from document.sentences


def _files(uri: str, splits: tuple[str, ...]) -> list[str]:
    return [path for split in splits for path in split_files(uri, split)]


def _are_made_so(uri: str, fingerprint: str, settings: ExampleSettings) -> bool:
    if not tf.io.gfile.exists(os.path.join(uri, manifests.FILE_NAME)):
        return False
    manifest = manifests.read(uri)
    theirs = ExampleSettings.model_validate(manifest["settings"])
    return manifest["tokenizer_fingerprint"] == fingerprint and _of_held_out(theirs) == _of_held_out(settings)


def _of_held_out(settings: ExampleSettings) -> dict[str, Any]:
    return settings.model_dump(exclude=set(_OF_TRAINING)) | {"rows": settings.packing == "pack"}


class _MakeHeldOutExamples(beam.DoFn):
    """Batches of serialised documents → records, as those of PretrainingExampleGen's eval split."""

    def __init__(self, vocabulary: str, settings: ExampleSettings):
        self._vocabulary, self._settings = vocabulary, settings.model_dump_json()
        self._shared = shared.Shared()

    def setup(self):
        self._tokenizer = self._shared.acquire(lambda: read_vocabulary(self._vocabulary), tag=self._vocabulary)
        self._parsed = ExampleSettings.model_validate_json(self._settings)

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        counts: Counter[str] = Counter()
        for examples in make_examples(decode_documents(batch), self._tokenizer, self._parsed, 1, True, counts):
            records = encode_examples(examples)
            yield from pack(records, self._parsed.max_seq_length, 1) if self._parsed.packing == "pack" else records
