"""The graph: which components run, in which order."""

from __future__ import annotations

import os

from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode

from albert_model.evaluation.probe_settings import ProbeSettings
from albert_model.evaluation.settings import JudgeSettings
from albert_model.publishing.versions import PushSettings as PackageSettings
from albert_model.text.documents import DocumentSettings
from albert_model.text.mixing import MixingSettings
from albert_model.text.packing import predictions_per_row
from albert_model.weights.settings import ReadOptions
from components import beam_options
from components.blessed_model import BlessedBefore
from components.document_gen.component import DocumentGen
from components.encoder_pusher.component import EncoderPusher
from components.evaluator.component import Evaluator
from components.export_check.component import ExportCheck
from components.hub_converter.component import HubConverter
from components.initial_model.component import InitialModel
from components.pretraining_example_gen.component import PretrainingExampleGen
from components.probe.component import Probe
from components.report.component import Report
from components.statistics_before import StatisticsBefore
from components.tokenizer_trainer.component import TokenizerTrainer
from pipeline.cloud import nodes
from pipeline.cloud.settings import Target
from pipeline.settings import PipelineSettings


def create_pipeline(settings: PipelineSettings, target: Target = "local") -> tfx.dsl.Pipeline:
    """The pipeline of these settings. Reads no file, and of the environment only a MySQL store's password."""
    return tfx.dsl.Pipeline(
        pipeline_name=settings.name,
        pipeline_root=settings.root,
        components=_components(settings, target),
        enable_cache=True,
        metadata_connection_config=settings.metadata.connection(settings.root) if target == "local" else None,
        beam_pipeline_args=beam_options.for_components(
            settings.beam_args(target), settings.cloud and settings.cloud.image
        ),
    )


def _components(settings: PipelineSettings, target: Target) -> list[BaseNode]:
    # === Text to examples ===
    corpus = settings.corpus
    documents = DocumentGen(
        input_base=corpus.path,
        pattern=corpus.pattern,
        eval_fraction=corpus.eval_fraction,
        settings=corpus.narrowed(DocumentSettings).model_dump_json(),
        span=nodes.span_of(settings, target),
        mixing=corpus.narrowed(MixingSettings).model_dump_json(),
        files_fingerprint=corpus.files_fingerprint,
    )
    start = _start(settings, target, documents)
    converter = _converter(settings)
    initial = InitialModel(
        model_config=settings.model.model_dump_json(),
        extend_vocabulary=settings.tokenizer.extend,
        blessed_model=start.outputs["model"] if start else None,
        converted_model=converter.outputs["model"] if converter else None,
    )
    tokenizer = TokenizerTrainer(
        documents=documents.outputs["examples"],
        initial_model=initial.outputs["model"],
        vocab_size=settings.model.vocab_size,
        settings=settings.tokenizer.model_dump_json(),
    )
    examples = PretrainingExampleGen(
        documents=documents.outputs["examples"],
        tokenizer=tokenizer.outputs["tokenizer"],
        settings=settings.examples.model_dump_json(),
    )
    # === Validation ===
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False)
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="components.preprocessing_module.preprocessing_fn",
        custom_config={
            "max_seq_length": settings.examples.max_seq_length,
            "max_predictions": predictions_per_row(settings.examples),
            "examples_per_row": settings.examples.examples_per_row if settings.examples.packing == "pack" else None,
        },
        materialize=False,
    )
    statistics_before = _statistics_before(statistics) if target == "local" else None
    # === Model ===
    trainer_class, job = nodes.trainer_of(settings, target)
    trainer = trainer_class(
        run_fn="components.trainer_module.run_fn",
        examples=examples.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        base_model=initial.outputs["model"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={
            "model_config": settings.model.model_dump_json(),
            "settings": settings.training.model_dump_json(),
            "checkpoint_root": os.path.join(settings.root, "checkpoints"),
            **job,
        },
    )
    baseline = _baseline(settings, target, trainer)
    probe = _probe(settings, trainer, baseline)
    anchor = _anchor_documents(settings)
    evaluator = Evaluator(
        model=trainer.outputs["model"],
        examples=examples.outputs["examples"],
        documents=documents.outputs["examples"],
        baseline_model=baseline.outputs["model"],
        anchor_documents=anchor.outputs["examples"] if anchor else None,
        probe=probe.outputs["probe"] if probe else None,
        settings=settings.evaluation.narrowed(JudgeSettings).model_dump_json(),
    )
    # === Publication ===
    export_check = ExportCheck(model=trainer.outputs["model"], model_blessing=evaluator.outputs["blessing"])
    pusher = EncoderPusher(
        model=trainer.outputs["model"],
        package=export_check.outputs["package"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=export_check.outputs["infra_blessing"],
        evaluation=evaluator.outputs["evaluation"],
        documents=documents.outputs["examples"],
        examples=examples.outputs["examples"],
        destination=settings.push.destination,
        settings=settings.push.narrowed(PackageSettings).model_dump_json(),
    )
    report = Report(
        documents=documents.outputs["examples"],
        examples=examples.outputs["examples"],
        statistics=statistics.outputs["statistics"],
        previous_statistics=statistics_before.outputs["statistics"] if statistics_before else None,
        schema=schema.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        blessing=evaluator.outputs["blessing"],
        probe=probe.outputs["probe"] if probe else None,
        infra_blessing=export_check.outputs["infra_blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        settings=settings.model_dump_json(exclude=_not_of_the_model(target)),
    )
    nodes_ = [
        *(documents, start, converter, initial, tokenizer, examples),
        *(statistics, statistics_before, schema, validator, transform),
        *(trainer, baseline, probe, anchor, evaluator),
        *(export_check, pusher, report),
    ]
    return [node for node in nodes_ if node is not None]


def _not_of_the_model(target: Target) -> set[str]:
    """Sections that say when and where it runs: a change of these makes nothing new."""
    return {"schedule", "cloud"} if target == "local" else {"schedule"}


def _start(settings: PipelineSettings, target: Target, documents: BaseNode) -> BaseNode | None:
    """Finds the model that training starts from."""
    if settings.start == "random":
        return None
    if target == "local":
        return _blessed_before(documents.outputs["examples"], "StartResolver")
    return nodes.start_model(settings, target, documents.outputs["examples"])


def _baseline(settings: PipelineSettings, target: Target, trainer: BaseNode) -> BaseNode:
    """Finds the model that the new one is compared with."""
    if target == "local":
        return _blessed_before(trainer.outputs["model"], "BaselineResolver")
    return nodes.baseline_model(settings, trainer.outputs["model"])


def _probe(settings: PipelineSettings, trainer: BaseNode, baseline: BaseNode) -> BaseNode | None:
    """Compares both models on a labelled set, if there is one."""
    probe = settings.evaluation.probe
    if probe is None:
        return None
    return Probe(
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        settings=probe.narrowed(ProbeSettings).model_dump_json(),
        files_fingerprint=probe.known_fingerprint,
    )


def _anchor_documents(settings: PipelineSettings) -> BaseNode | None:
    """Reads the text that must not be forgotten, if there is one; all of it is held out."""
    anchor = settings.evaluation.anchor
    if anchor is None:
        return None
    return DocumentGen(
        input_base=anchor.path,
        pattern=anchor.pattern,
        eval_fraction=0.5,
        settings=settings.corpus.narrowed(DocumentSettings).model_dump_json(),
    ).with_id("AnchorDocuments")


def _converter(settings: PipelineSettings) -> BaseNode | None:
    """Converts the weights to start from, if there are any."""
    initial = settings.initial
    if initial.source is None or settings.start == "random":
        return None
    return HubConverter(
        source=initial.source,
        options=initial.narrowed(ReadOptions).model_dump_json(),
        files_fingerprint=initial.files_fingerprint,
    )


def _blessed_before(reference: tfx.dsl.Channel, name: str) -> tfx.dsl.Resolver:
    return tfx.dsl.Resolver(
        strategy_class=BlessedBefore,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
        reference=reference,
    ).with_id(name)


def _statistics_before(statistics: BaseNode) -> tfx.dsl.Resolver:
    return tfx.dsl.Resolver(
        strategy_class=StatisticsBefore,
        statistics=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ExampleStatistics),
        reference=statistics.outputs["statistics"],
    ).with_id("StatisticsResolver")
