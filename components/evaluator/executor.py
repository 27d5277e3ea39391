"""Scores models on texts, judges, and blesses."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils
from tfx_bsl.public import tfxio

from albert_model.evaluation import verdict as verdicts
from albert_model.evaluation.scores import Scores
from albert_model.evaluation.settings import JudgeSettings
from albert_model.evaluation.verdict import TextFigures, Verdict
from albert_model.evaluation.word_order import word_order
from albert_model.text.documents import SPLITS
from components import manifests
from components.evaluator import metrics
from components.evaluator.texts import (
    HELD_OUT,
    HeldOutExamples,
    ScoredModel,
    Text,
    is_there,
    sentences,
    shared_settings,
)
from components.model_layout import holds_model, origin_of

import tensorflow_model_analysis as tfma  # isort: skip  (after tfx, which `metrics` imports)

_log = logging.getLogger("albert.evaluation")
_CANDIDATE, _BASELINE = "candidate", "baseline"
_BLESSED, _NOT_BLESSED = (
    (constants.BLESSED_FILE_NAME, constants.BLESSED_VALUE),
    (constants.NOT_BLESSED_FILE_NAME, constants.NOT_BLESSED_VALUE),
)
ScoresOfText = Mapping[str | None, Scores]


class Executor(BaseBeamExecutor):
    """Models and held-out text → evaluation and blessing."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        settings = JudgeSettings.model_validate_json(exec_properties["settings"])
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        (candidate,) = input_dict["model"]
        baselines = [model for model in input_dict.get("baseline_model") or [] if holds_model(model)]
        names = (_CANDIDATE, _BASELINE)
        models = {name: ScoredModel.of(model) for name, model in zip(names, [candidate, *baselines], strict=False)}
        texts = list(_texts(input_dict, models.get(_BASELINE)))

        gone: dict[str, ScoresOfText] = {name: {} for name in models}
        scores = self._score(models, [text for text in texts if is_there(text)], evaluation.uri)
        verdict = verdicts.judge(
            [f for text in texts for f in _figures(text.name, scores.get(text.name, gone), settings.confidence)],
            settings,
            _comparison(models),
            origin_of(baselines[0].uri) if baselines else None,
            _probe(input_dict.get("probe")),
            word_order(sentences(texts[0])),
        )
        with tf.io.gfile.GFile(os.path.join(evaluation.uri, verdicts.FILE_NAME), "w") as file:
            file.write(verdict.to_json())
        _bless(artifact_utils.get_single_instance(output_dict["blessing"]), verdict, candidate, baselines)

    def _score(
        self, models: Mapping[str, ScoredModel], texts: Sequence[Text], uri: str
    ) -> dict[str, dict[str, ScoresOfText]]:
        """Every model on every text: by text, model and domain."""
        settings = _example_settings(models)
        config = metrics.eval_config()
        loaded = {
            name: tfma.default_eval_shared_model(eval_saved_model_path=model.saved_model, eval_config=config)
            for name, model in models.items()
        }
        folders = {(t.name, m): os.path.join(uri, t.name.replace(" ", "_"), m) for t in texts for m in models}
        with self._make_beam_pipeline() as pipeline:
            for text in texts:
                for name, model in models.items():
                    label = f"{text.name}, {name}"
                    _ = (
                        pipeline
                        | f"Read {label}" >> HeldOutExamples(text, model, settings[name])
                        | f"Convert {label}" >> _to_arrow()
                        | f"Score {label}"
                        >> tfma.ExtractEvaluateAndWriteResults(
                            eval_config=config, eval_shared_model=loaded[name], output_path=folders[text.name, name]
                        )
                    )
        return {t.name: {m: metrics.load_scores(folders[t.name, m]) for m in models} for t in texts}


def _to_arrow():
    """What TFMA reads records as."""
    return tfxio.TFExampleBeamRecord(
        physical_format="inmem",
        telemetry_descriptors=["albert", "evaluator"],
        raw_record_column_name=tfma.ARROW_INPUT_COLUMN,
    ).BeamSource()


def _example_settings(models: Mapping[str, ScoredModel]) -> dict[str, Any]:
    if _BASELINE not in models:
        return {_CANDIDATE: models[_CANDIDATE].settings}
    return dict(zip((_CANDIDATE, _BASELINE), shared_settings(models[_CANDIDATE], models[_BASELINE]), strict=True))


def _comparison(models: Mapping[str, ScoredModel]) -> str:
    if _BASELINE not in models:
        return verdicts.NO_BASELINE
    same = models[_CANDIDATE].fingerprint == models[_BASELINE].fingerprint
    return verdicts.SAME_PREDICTIONS if same else verdicts.BITS_PER_CHARACTER


def _texts(input_dict: dict[str, list[types.Artifact]], baseline: ScoredModel | None) -> Iterator[Text]:
    """What models are scored on: the text at hand, what the model before was trained on, and the anchor."""
    documents = artifact_utils.get_single_uri(input_dict["documents"])
    yield Text(verdicts.THIS_TEXT, documents, HELD_OUT, artifact_utils.get_single_uri(input_dict["examples"]))
    if baseline and baseline.documents != documents:
        before = Text(verdicts.TEXT_BEFORE, baseline.documents, HELD_OUT, baseline.examples)
        if not is_there(before):
            _log.warning("%s is gone: whether the model forgets that text is not measured", baseline.documents)
        yield before
    if anchor := input_dict.get("anchor_documents"):
        yield Text(verdicts.ANCHOR, artifact_utils.get_single_uri(anchor), SPLITS, None)


def _figures(text: str, scores: Mapping[str, ScoresOfText], confidence: float) -> Iterator[TextFigures]:
    """Of all domains together first."""
    candidate = {None: Scores.none(), **scores[_CANDIDATE]}  # of a text that gives no example nothing was written
    baseline = {None: Scores.none(), **scores[_BASELINE]} if _BASELINE in scores else {}
    for domain in sorted(candidate, key=lambda name: name or ""):
        yield TextFigures.of(text, domain, candidate[domain], baseline.get(domain), confidence)


def _probe(artifacts: list[types.Artifact] | None) -> dict[str, Any] | None:
    return manifests.read_json(artifact_utils.get_single_uri(artifacts), manifests.PROBE) if artifacts else None


def _bless(
    blessing: types.Artifact, verdict: Verdict, candidate: types.Artifact, baselines: Sequence[types.Artifact]
) -> None:
    """As TFX's Evaluator does: Pusher and resolvers read it."""
    models = [("CURRENT", candidate), *(("BASELINE", model) for model in baselines)]
    for which, model in models:
        blessing.set_string_custom_property(
            getattr(constants, f"ARTIFACT_PROPERTY_{which}_MODEL_URI_KEY"), origin_of(model.uri)
        )
        blessing.set_int_custom_property(getattr(constants, f"ARTIFACT_PROPERTY_{which}_MODEL_ID_KEY"), model.id)
    file_name, value = _BLESSED if verdict.blessed else _NOT_BLESSED
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    tf.io.gfile.makedirs(blessing.uri)  # where there is no LocalDagRunner, nobody has made it
    with tf.io.gfile.GFile(os.path.join(blessing.uri, file_name), "w") as file:
        file.write("")
