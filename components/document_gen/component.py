"""DocumentGen: text files of a span → documents."""

from __future__ import annotations

from google.protobuf import struct_pb2
from tfx import v1 as tfx
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from albert_model.text.documents import BUCKETS
from albert_model.text.mixing import MixingSettings
from components.document_gen import executor

# Raise it when the results of any component change for the same inputs. TFX's cache knows inputs and settings but
# not code; with new documents everything after them is made anew.
CODE_VERSION = 3


class DocumentGen(FileBasedExampleGen):
    """Reads one sentence per line, a blank line between documents; splits by a hash of each document's text.

    Outputs:
      examples: standard Examples, splits train and eval; see `albert_model.text.examples.encode_documents`.

    Args:
      input_base: folder of the spans.
      pattern: files below it; `{SPAN}` or `{YYYY}-{MM}-{DD}` stands for the span, the folders between it and the
        file name the domain.
      eval_fraction: share of documents that is held out.
      settings: JSON of `albert_model.text.documents.DocumentSettings`.
      span: None for the latest one. A runtime parameter, for orchestrators that run no driver: the executor puts its
        value into the pattern.
      mixing: JSON of `albert_model.text.mixing.MixingSettings`: what is read of older spans. None: nothing.
      files_fingerprint: another one when files changed that no driver looks at, for TFX's cache.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        input_base: str,
        pattern: str,
        eval_fraction: float,
        settings: str,
        span: int | tfx.dsl.experimental.RuntimeParameter | None = None,
        mixing: str | None = None,
        files_fingerprint: str = "",
    ):
        held_out = round(eval_fraction * BUCKETS)
        splits = [
            example_gen_pb2.SplitConfig.Split(name="train", hash_buckets=BUCKETS - held_out),
            example_gen_pb2.SplitConfig.Split(name="eval", hash_buckets=held_out),
        ]
        packed = struct_pb2.Struct()
        packed.update({"settings": settings, "code_version": CODE_VERSION})
        packed.update(_of_older_spans(pattern, mixing, files_fingerprint))
        custom_config = example_gen_pb2.CustomConfig()
        custom_config.custom_config.Pack(packed)
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="documents", pattern=pattern)]),
            output_config=example_gen_pb2.Output(
                split_config=example_gen_pb2.SplitConfig(splits=splits, partition_feature_name="document_id")
            ),
            custom_config=custom_config,
            range_config=_only(span) if isinstance(span, int) else None,
        )
        if isinstance(span, tfx.dsl.experimental.RuntimeParameter):
            # TFX's class makes the specification, and knows no such parameter.
            self.spec.exec_properties[executor.GIVEN_SPAN] = span


def _only(span: int) -> tfx.proto.RangeConfig:
    return tfx.proto.RangeConfig(static_range=tfx.proto.StaticRange(start_span_number=span, end_span_number=span))


def _of_older_spans(pattern: str, mixing: str | None, fingerprint: str) -> dict[str, str]:
    """What the executor is told of older spans: nothing where none is read, so that caches stay good."""
    if mixing is None or not MixingSettings.model_validate_json(mixing).reads_older_spans:
        return {"files_fingerprint": fingerprint} if fingerprint else {}
    return {"mixing": mixing, "span_pattern": pattern, "files_fingerprint": fingerprint}
