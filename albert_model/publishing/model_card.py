"""`MODEL_CARD.md`: what a published encoder is, what it was trained on, how good it is, and how to load it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from albert_model.config import AlbertConfig
from albert_model.evaluation.verdict import THIS_TEXT
from albert_model.publishing.versions import PushSettings
from albert_model.text.tokenizer import Tokenizer
from albert_model.training.settings import TrainingSettings

_TEMPLATE = "MODEL_CARD.md.jinja"
# Of these, Markdown would make something else than what they are.
_SPECIAL = re.compile(r"([\\`*_\[\]|<>])")
_KINDS = {"sentencepiece": "SentencePiece", "wordpiece": "WordPiece"}
Figure = Mapping[str, float] | None


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    Attributes:
      settings: licence and language.
      config: of the model.
      tokenizer: of the model.
      training: `training.json` of the model.
      verdict: `verdict.json` of its evaluation.
      spans: the data's.
      documents: the manifest of the documents.
      examples: the manifest of the examples.
      lineage: URI of each artifact that the model was made of.
      version_before: of the model that it was compared with, if that was published.
    """

    settings: PushSettings
    config: AlbertConfig
    tokenizer: Tokenizer
    training: Mapping[str, Any]
    verdict: Mapping[str, Any]
    spans: Sequence[int]
    documents: Mapping[str, Any]
    examples: Mapping[str, Any]
    lineage: Mapping[str, str]
    version_before: int | None = None


def render(facts: CardFacts) -> str:
    """The content of `MODEL_CARD.md`: the same for the same facts; it has no time and no version in it."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "words": _words,
        "code": _code,
        "count": "{:,}".format,
        "percent": "{:.0%}".format,
        "percents": _percents,
        "points": _points,
        "figures": _figures,
        "changes": _changes,
        "spread": _spread,
    }
    return environment.get_template(_TEMPLATE).render(_values(facts))


def _values(facts: CardFacts) -> dict[str, Any]:
    licence, language, verdict = facts.settings.licence, facts.settings.language, facts.verdict
    kind = facts.config.architecture
    before = f"version {facts.version_before}" if facts.version_before else f"`{_code(verdict['baseline'])}`"
    texts = _without_only_domains(verdict["texts"])
    dropped = {name: count for name, count in facts.documents["dropped"].items() if count}
    return {
        "name": kind.upper(),
        "licence": licence,
        "licence_id": licence or "unknown",
        "language": language,
        "tags": [kind, "fill-mask", "feature-extraction", "pretraining", "keras", "tensorflow", "transformers"],
        "config": facts.config,
        "vocabulary": _vocabulary(facts.tokenizer),
        "ids": _example_ids(facts.tokenizer),
        "verdict": verdict,
        "texts": texts,
        "compared": [text for text in texts if text["difference"]],
        "before": before,
        "spans": facts.spans,
        "domains": _domains(verdict),
        "documents": facts.documents,
        "dropped": ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in dropped.items()),
        "examples": facts.examples,
        "recipe": _recipe(facts.training),
        "lineage": facts.lineage,
    }


def _vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "kind": _KINDS[tokenizer.vocabulary.kind],
        "size": tokenizer.vocab_size,
        "file_name": tokenizer.vocabulary.file_name,
        "do_lower_case": tokenizer.do_lower_case,
        "fingerprint": tokenizer.fingerprint,
    }


def _example_ids(tokenizer: Tokenizer) -> list[int]:
    return [tokenizer.cls_id, *tokenizer.encode(["An example."]).values.tolist(), tokenizer.sep_id]


def _domains(verdict: Mapping[str, Any]) -> list[str]:
    """Of the text that was trained on; the other texts may have more."""
    found = [text["domain"] for text in verdict["texts"] if text["text"] == THIS_TEXT and text["domain"]]
    return sorted(set(found))


def _without_only_domains(texts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A domain that a text has no other beside is all of that text."""
    domains = Counter(text["text"] for text in texts if text["domain"] is not None)
    return [text for text in texts if text["domain"] is None or domains[text["text"]] > 1]


def _recipe(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings that decide what is learned."""
    start, steps, examples = training["start"], training["steps"], training["examples"]["settings"]
    settings = TrainingSettings.model_validate(training["training"])
    began = start["source"] + (f" {start['model_uri']}" if start.get("model_uri") else "")
    warm_up = f"after {settings.resolved_warmup_steps(steps):,} steps of warm-up"
    optimizer = f"{settings.optimizer}, learning rate {settings.peak_learning_rate:g} {warm_up}"
    regular = f"weight decay {settings.weight_decay:g}, gradients clipped at {settings.clip_norm:g}"
    ngram = f"{'whole words' if examples['do_whole_word_mask'] else 'pieces'}, up to {examples['ngram']} in a row"
    return [
        ("started from", began),
        ("steps", f"{steps:,}"),
        ("batch", f"{settings.batch_size:,} examples"),
        ("optimizer", f"{optimizer}, {regular}"),
        ("sequence length", f"{examples['max_seq_length']} pieces"),
        ("masks", f"{examples['masked_lm_prob']:.0%} of the pieces, {ngram}, {examples['masking']}"),
        ("copies of the text", f"{examples['dupe_factor']}, with other masks each"),
        ("precision", settings.precision),
        ("seeds", f"examples {examples['random_seed']}, training {settings.seed}"),
    ]


# === How things are written ===


def _words(value: Any) -> str:
    """On one line, and as it stands."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _code(value: Any) -> str:
    """Between backticks, also in a table."""
    return " ".join(str(value).split()).replace("`", "'").replace("|", r"\|")


def _interval(figure: Mapping[str, float], form: str, factor: float = 1) -> str:
    value, low, high = (format(factor * figure[key], form) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _percents(figure: Figure) -> str:
    return _interval(figure, ".1f", 100).replace(" (", "% (") if figure else "–"


def _points(figure: Figure) -> str:
    return _interval(figure, "+.2f", 100) if figure else "–"


def _figures(figure: Figure) -> str:
    return _interval(figure, ".4g") if figure else "–"


def _changes(figure: Figure) -> str:
    return _interval(figure, "+.3g") if figure else "–"


def _spread(scores: Mapping[str, Any]) -> str:
    return f"{scores['mean']:.1%} ± {scores['spread']:.1%}"
