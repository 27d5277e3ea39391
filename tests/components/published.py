"""Artifacts of a run, as EncoderPusher takes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.types import artifact, standard_artifacts

from albert_model.publishing.versions import PushSettings
from albert_model.weights import package
from albert_model.weights.model import Model
from components import manifests
from components.artifacts import EncoderPackage
from components.encoder_pusher.component import EncoderPusher

EXAMPLE_SETTINGS = {
    "max_seq_length": 64,
    "masked_lm_prob": 0.15,
    "ngram": 3,
    "do_whole_word_mask": True,
    "dupe_factor": 3,
    "masking": "static",
    "random_seed": 12345,
}
TRAINING = {
    "start": {"source": "blessed model", "model_uri": "runs/Trainer/model/1"},
    "tokenizer_fingerprint": "aa",
    "examples": {"documents": 12, "settings": EXAMPLE_SETTINGS},
    "training": {
        "batch_size": 32,
        "accumulation": 2,
        "optimizer": "lamb",
        "learning_rate": 0.005,
        "warmup_steps": 100,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "precision": "auto",
        "seed": 7,
    },
    "steps": 1069,
    "last_interval": {"mlm_loss": 5.25},
}
DOCUMENTS = {"documents": 1249, "train_documents": 1210, "eval_documents": 39, "fingerprint": "bb"}
DOCUMENTS |= {"dropped": {"duplicate_documents": 3, "invalid_utf8_lines": 0}}
EXAMPLES = {"tokens": 1851404, "train_examples": 34212, "eval_examples": 444}


def figure(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def figures(value: float) -> dict[str, Any]:
    names = ("mlm_accuracy", "mlm_loss", "perplexity", "sop_accuracy", "sop_loss", "bits_per_character")
    return {**{name: figure(value) for name in names}, "padding_share": None, "unknown_share": None}


def text_figures(text: str, domain: str | None, compared: bool) -> dict[str, Any]:
    return {
        "text": text,
        "domain": domain,
        "documents": 39,
        "examples": 444,
        "candidate": figures(0.25) | {"sop_accuracy": None},
        "baseline": figures(0.2) if compared else None,
        "difference": figures(0.05) | {"sop_accuracy": None} if compared else None,
    }


def verdict(baseline: str | None) -> dict[str, Any]:
    compared = baseline is not None
    probe = {"train_examples": 900, "test_examples": 100, "candidate": {"mean": 0.9, "spread": 0.01}, "baseline": None}
    return {
        "format_version": 1,
        "blessed": True,
        "summary": "blessed: MLM accuracy +5.00 points (95 %: +4.00 to +6.00) against the model before",
        "rules": [{"name": "gain", "passed": True, "said": "MLM accuracy +5.00 points, at least +0.10"}],
        "confidence": 0.95,
        "comparison": "same predictions" if compared else "no baseline",
        "baseline": baseline,
        "texts": [
            text_figures("this text", None, compared),
            text_figures("this text", "law|<b>", compared),
            text_figures("this text", "trade", compared),
            text_figures("text before", None, compared),
            text_figures("text before", "law|<b>", compared),
        ],
        "probe": probe if compared else None,
    }


@dataclass(frozen=True)
class Run:
    """What the components before the pusher left.

    Attributes:
      inputs: of EncoderPusher, by name.
    """

    inputs: dict[str, artifact.Artifact]

    def push(self, destination: object, keep: int = 5, **changed: artifact.Artifact) -> standard_artifacts.PushedModel:
        """Runs the component."""
        pushed = standard_artifacts.PushedModel()
        settings = PushSettings(keep=keep, licence="cc-by-4.0")
        EncoderPusher.test_call(
            **(self.inputs | changed),
            pushed_model=pushed,
            destination=str(destination),
            settings=settings.model_dump_json(),
        )
        return pushed


def make_run(folder: Path, encoder: Path, name: str, baseline: str | None = None) -> Run:
    """A run whose model is called `name` and whose package was written to `encoder`."""

    def made(kind: type, part: str) -> Any:
        found = kind()
        found.uri = str(folder / part / name)
        Path(found.uri).mkdir(parents=True)
        return found

    model, examples = made(standard_artifacts.Model, "model"), made(standard_artifacts.Examples, "examples")
    written = Path(model.uri, "Format-Serving", "assets.extra")
    written.mkdir(parents=True)
    (written / "training.json").write_text(json.dumps(TRAINING))
    documents = made(standard_artifacts.Examples, "documents")
    documents.set_int_custom_property("span", 2)
    manifests.write(documents, DOCUMENTS)
    manifests.write(examples, EXAMPLES)
    evaluation = made(standard_artifacts.ModelEvaluation, "evaluation")
    Path(evaluation.uri, "verdict.json").write_text(json.dumps(verdict(baseline)))
    package_ = EncoderPackage()
    package_.uri = str(encoder)
    return Run(
        {
            "model": model,
            "package": package_,
            "model_blessing": blessing(True),
            "infra_blessing": infra_blessing(True),
            "evaluation": evaluation,
            "documents": documents,
            "examples": examples,
        }
    )


def blessing(is_given: bool) -> standard_artifacts.ModelBlessing:
    found = standard_artifacts.ModelBlessing()
    found.set_int_custom_property("blessed", int(is_given))
    return found


def infra_blessing(is_given: bool) -> standard_artifacts.InfraBlessing:
    found = standard_artifacts.InfraBlessing()
    found.set_int_custom_property("blessed", int(is_given))
    return found


def write_encoder(folder: Path, model: Model) -> Path:
    package.write_encoder(folder, model)
    return folder
