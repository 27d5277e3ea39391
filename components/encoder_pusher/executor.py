"""Gathers what the model card and the manifest tell, and pushes."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.components.util import model_utils

from albert_model.config import AlbertConfig
from albert_model.evaluation import verdict as verdicts
from albert_model.publishing import model_card
from albert_model.publishing.versions import PushSettings, Versions
from albert_model.text.tokenizer import Tokenizer
from albert_model.weights.package import CONFIG, VOCABULARY
from components import manifests
from components.remote import folders_here, read_vocabulary

_log = logging.getLogger("albert.push")
_DOCUMENTS_KEPT = ("documents", "train_documents", "eval_documents", "fingerprint")
_OF_OLDER_SPANS = ("spans", "replayed_documents", "replayed_share")  # where older spans were read


def push(
    *,
    pushed_model: types.Artifact,
    model: types.Artifact,
    package: types.Artifact,
    model_blessing: types.Artifact,
    infra_blessing: types.Artifact,
    evaluation: types.Artifact,
    documents: types.Artifact,
    examples: types.Artifact,
    destination: str,
    settings: str,
) -> None:
    """Pushes a model that both blessings are given for, and says in `pushed_model` what was done.

    Raises:
      InputError: see `albert_model.publishing.versions.Versions.push`.
    """
    if missing := _missing_blessing(model_blessing, infra_blessing):
        _log.info("nothing pushed: %s", missing)
        pushed_model.set_int_custom_property("pushed", 0)
        return
    said = PushSettings.model_validate_json(settings)
    versions = Versions(destination)
    artifacts = {
        "model": model,
        "encoder package": package,
        "evaluation": evaluation,
        "examples": examples,
        "documents": documents,
    }
    facts = _facts(said, artifacts, versions)
    before = versions.numbers()
    number = versions.push(package.uri, model_card.render(facts), _more(facts), said.keep)
    _tell(versions, number, number not in before)
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_int_custom_property("is_new", int(number not in before))
    pushed_model.set_string_custom_property("pushed_destination", versions.folder(number))
    pushed_model.set_string_custom_property("pushed_version", str(number))


def _missing_blessing(model_blessing: types.Artifact, infra_blessing: types.Artifact) -> str | None:
    """Of the two, as TFX's Pusher looks for them."""
    if not model_utils.is_model_blessed(model_blessing):
        return "the model was not blessed"
    if not model_utils.is_infra_validated(infra_blessing):
        return "the export did not pass its check"
    return None


def _tell(versions: Versions, number: int, is_new: bool) -> None:
    if is_new:
        _log.info("pushed version %s to %s", number, versions.folder(number))
        return
    latest = versions.latest()
    stays = "" if latest == number else f"; latest stays {latest}, as somebody rolled back"
    _log.info("nothing pushed: version %s at %s is this model already%s", number, versions.destination, stays)


def _facts(said: PushSettings, artifacts: dict[str, types.Artifact], versions: Versions) -> model_card.CardFacts:
    verdict = manifests.read_json(artifacts["evaluation"].uri, verdicts.FILE_NAME)
    config, tokenizer = _config_and_tokenizer(artifacts["encoder package"].uri)
    documents = manifests.read(artifacts["documents"].uri)
    return model_card.CardFacts(
        settings=said,
        config=config,
        tokenizer=tokenizer,
        training=manifests.read_training(artifacts["model"].uri),
        verdict=verdict,
        spans=_spans(artifacts["documents"], documents),
        documents=documents,
        examples=manifests.read(artifacts["examples"].uri),
        lineage={name: artifact.uri for name, artifact in artifacts.items()},
        version_before=versions.version_of(verdict["baseline"]),
    )


def _more(facts: model_card.CardFacts) -> dict[str, Any]:
    """What the manifest tells besides its files."""
    verdict = facts.verdict
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "spans": list(facts.spans),
        "documents": {key: facts.documents[key] for key in _DOCUMENTS_KEPT}
        | {key: facts.documents[key] for key in _OF_OLDER_SPANS if key in facts.documents},
        "licence": facts.settings.licence,
        "language": facts.settings.language,
        "metrics": {key: verdict[key] for key in ("summary", "confidence", "comparison", "baseline", "texts")},
        "lineage": {"model": facts.lineage["model"], **facts.training},
    }


def _config_and_tokenizer(package_uri: str) -> tuple[AlbertConfig, Tokenizer]:
    with folders_here() as here:
        config = AlbertConfig.from_file(here.of_input(os.path.join(package_uri, CONFIG)))
    return config, read_vocabulary(os.path.join(package_uri, VOCABULARY))


def _spans(documents: types.Artifact, manifest: Mapping[str, Any]) -> list[int]:
    """Those that were read as a whole; none for text that has none."""
    if rows := manifest.get("spans"):
        return sorted({row["span"] for row in rows if row["part"] != "replay"})
    span = manifest.get("span", documents.get_custom_property("span"))  # ExampleGen's driver writes the latter
    return [int(float(span))] if span not in (None, "") else []
