"""The rules by which a model is blessed, and the verdict that they come to."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from albert_model.evaluation.scores import Interval, Scores, differences, intervals
from albert_model.evaluation.settings import JudgeSettings

FILE_NAME = "verdict.json"
FORMAT_VERSION = 1
THIS_TEXT = "this text"
TEXT_BEFORE = "text before"
ANCHOR = "anchor"
SAME_PREDICTIONS = "same predictions"
BITS_PER_CHARACTER = "bits per character"
NO_BASELINE = "no baseline"
THE_MODEL_BEFORE = "the model before"  # what the baseline is called
Figures = Mapping[str, Interval | None]


@dataclass(frozen=True)
class TextFigures:
    """What both models scored on a text, or on one domain of it (None: on all).

    Attributes:
      text: THIS_TEXT, TEXT_BEFORE or ANCHOR.
      baseline, difference: None where there is no model to compare with. The difference is candidate − baseline.
    """

    text: str
    domain: str | None
    documents: int
    examples: int
    candidate: Figures
    baseline: Figures | None
    difference: Figures | None

    @staticmethod
    def of(text: str, domain: str | None, candidate: Scores, baseline: Scores | None, confidence: float) -> TextFigures:
        return TextFigures(
            text=text,
            domain=domain,
            documents=candidate.documents,
            examples=candidate.examples,
            candidate=intervals(candidate, confidence),
            baseline=intervals(baseline, confidence) if baseline else None,
            difference=differences(candidate, baseline, confidence) if baseline else None,
        )


@dataclass(frozen=True)
class Rule:
    """A rule that applied; `said` has the figure and the limit."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True)
class Verdict:
    """Whether a model is blessed, and why.

    Attributes:
      comparison: SAME_PREDICTIONS, BITS_PER_CHARACTER (the baseline has another vocabulary) or NO_BASELINE.
      baseline: where the model compared with lies.
      probe: what the probe measured, if there was one.
    """

    blessed: bool
    summary: str
    rules: tuple[Rule, ...]
    confidence: float
    comparison: str
    baseline: str | None
    texts: tuple[TextFigures, ...]
    probe: Mapping[str, Any] | None

    def to_json(self) -> str:
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def judge(
    texts: Sequence[TextFigures],
    settings: JudgeSettings,
    comparison: str,
    baseline: str | None = None,
    probe: Mapping[str, Any] | None = None,
    word_order: float | None = None,
) -> Verdict:
    """Blesses a model if it passes every rule that applies.

    Args:
      texts: of THIS_TEXT all of it and its domains, of the others all of each at least.
      settings: the limits.
      comparison: see `Verdict`.
      baseline: see `Verdict`.
      probe: content of `probe.json`.
      word_order: of the text, see `albert_model.evaluation.word_order`.
    """
    rules = tuple(_rules(texts, settings, comparison, probe, word_order))
    failed = [rule for rule in rules if not rule.passed]
    return Verdict(
        blessed=not failed,
        summary="not blessed: " + "; ".join(rule.said for rule in failed) if failed else f"blessed: {_praise(rules)}",
        rules=rules,
        confidence=settings.confidence,
        comparison=comparison,
        baseline=baseline,
        texts=tuple(texts),
        probe=probe,
    )


def _praise(rules: Sequence[Rule]) -> str:
    gains = [rule.said for rule in rules if rule.name == "gain"]
    return "; ".join(gains) or "above the floors, no model to compare with"


def _rules(
    texts: Sequence[TextFigures],
    settings: JudgeSettings,
    comparison: str,
    probe: Mapping[str, Any] | None,
    word_order: float | None,
) -> Iterator[Rule]:
    whole = next(text for text in texts if text.text == THIS_TEXT and text.domain is None)
    enough = _enough(whole, settings)
    yield enough
    if not enough.passed:
        return
    yield from _floors(whole, settings)
    yield _is_in_order(word_order, settings)
    if comparison != NO_BASELINE:
        measure = _measure(comparison, settings)
        domains = [text for text in texts if text.text == THIS_TEXT and text.domain is not None]
        yield from _gains(whole, domains, settings, measure)
        yield from (_remembered(t, measure) for t in texts if t.text != THIS_TEXT and t.domain is None)
    if probe and probe["baseline"]:
        yield _probe_holds(probe)


def _enough(whole: TextFigures, settings: JudgeSettings) -> Rule:
    said = f"{whole.documents:,} documents held out ({whole.examples:,} examples)"
    if whole.documents >= settings.min_documents:
        return Rule("enough text", True, said)
    remedy = "add text, or raise corpus.eval_fraction"
    return Rule(
        "enough text", False, f"not judged, {said}: {settings.min_documents} documents are needed at least; {remedy}"
    )


def _floors(whole: TextFigures, settings: JudgeSettings) -> Iterator[Rule]:
    if whole.candidate["mlm_accuracy"] and not whole.candidate["mlm_loss"]:
        yield Rule("finite loss", False, "the loss on held-out text is no number: training has broken the model")
    for figure, name, floor in (
        ("mlm_accuracy", "MLM accuracy", settings.min_mlm_accuracy),
        ("sop_accuracy", "SOP accuracy", settings.min_sop_accuracy),
    ):
        measured = whole.candidate[figure]
        if measured is None and figure == "sop_accuracy":
            continue  # text without an order
        value = measured.value if measured else 0.0
        passed = value >= floor
        yield Rule(
            f"floor of {name}",
            passed,
            f"{name} {value:.2%} is {'not below' if passed else 'below'} the floor of {floor:.2%}",
        )


def _is_in_order(word_order: float | None, settings: JudgeSettings) -> Rule:
    if word_order is None:
        return Rule("word order", True, "too few words that are repeated, to tell whether they are in an order")
    measured = f"word order {word_order:.1%}, {{}} {settings.min_word_order:.1%}"
    if word_order >= settings.min_word_order:
        return Rule("word order", True, f"the text is in order: {measured.format('not below')}")
    remedy = "set evaluation.min_word_order to 0 for text that has no order"
    said = f"the text reads as if its words were shuffled: {measured.format('below')}"
    return Rule("word order", False, f"{said} ({remedy})")


@dataclass(frozen=True)
class _Measure:
    """What of two models is compared, and by how much they may differ. A positive gain is always the better one.

    Attributes:
      factor: of a gain, to how it is told; negative where less is better.
    """

    figure: str
    name: str
    factor: float
    unit: str
    needed: float
    domain_loss: float
    forgetting: float

    def gain(self, text: TextFigures) -> Interval | None:
        difference = text.difference[self.figure] if text.difference else None
        if difference is None or self.factor > 0:
            return difference
        return Interval(-difference.value, -difference.high, -difference.low)

    def told(self, *gains: float) -> str:
        digits = 2 if self.factor > 0 else 3
        return " to ".join(f"{self.factor * gain:+.{digits}f}" for gain in gains) + self.unit


def _measure(comparison: str, settings: JudgeSettings) -> _Measure:
    if comparison == SAME_PREDICTIONS:
        limits = [settings.min_mlm_accuracy_gain, settings.max_domain_loss, settings.max_forgetting]
        return _Measure("mlm_accuracy", "MLM accuracy", 100, " points", *limits)
    limits = [settings.min_bits_per_character_gain, *[settings.max_bits_per_character_loss] * 2]
    return _Measure("bits_per_character", "bits per character", -1, "", *limits)


def _gains(
    whole: TextFigures, domains: Sequence[TextFigures], settings: JudgeSettings, measure: _Measure
) -> Iterator[Rule]:
    if settings.gain_in == "every domain":
        yield from (_enough_of(domain, settings) or _gain(domain, settings, measure) for domain in domains)
        return
    yield _gain(whole, settings, measure)
    yield from (_domain_holds(domain, settings, measure) for domain in domains if len(domains) > 1)


def _gain(text: TextFigures, settings: JudgeSettings, measure: _Measure) -> Rule:
    """A gain of the stated size, whose interval is above zero."""
    where = f" on {text.domain}" if text.domain else ""
    gain = measure.gain(text)
    if gain is None:
        return Rule("gain", False, f"{measure.name}{where} could not be compared: nothing was predicted")
    interval = f"({settings.confidence:.0%}: {measure.told(gain.low, gain.high)})"
    said = f"{measure.name}{where} {measure.told(gain.value)} {interval} against {THE_MODEL_BEFORE}"
    if gain.value < measure.needed:
        return Rule("gain", False, f"{said}, should be {measure.told(measure.needed)} or better")
    if gain.low <= 0:
        return Rule("gain", False, f"{said}, which may be chance: {_documents_needed(text, gain)}")
    return Rule("gain", True, said)


def _documents_needed(text: TextFigures, gain: Interval) -> str:
    """An interval narrows with the square root of the documents."""
    factor = ((gain.value - gain.low) / gain.value) ** 2
    return f"about {math.ceil(text.documents * factor):,} held-out documents would tell, there are {text.documents:,}"


def _enough_of(domain: TextFigures, settings: JudgeSettings) -> Rule | None:
    """Of few documents no interval says anything: it is refused where each domain must gain."""
    if domain.documents >= settings.min_documents:
        return None
    there = f"{domain.domain} has {domain.documents:,} held-out documents"
    return Rule("gain", False, f"{there}, {settings.min_documents} are needed at least where every domain must gain")


def _domain_holds(text: TextFigures, settings: JudgeSettings, measure: _Measure) -> Rule:
    gain = measure.gain(text)
    if gain is None or text.documents < settings.min_documents:
        few = f"{text.documents:,} held-out documents of {text.domain} are too few to judge it by itself"
        return Rule(f"domain {text.domain}", True, few)
    passed = gain.high >= -measure.domain_loss
    told = f"{measure.name} on {text.domain} {measure.told(gain.value)}"
    return Rule(f"domain {text.domain}", passed, f"{told}, {_limit(passed, measure.told(-measure.domain_loss))}")


def _remembered(text: TextFigures, measure: _Measure) -> Rule:
    """The guard against forgetting."""
    what = "the anchor text" if text.text == ANCHOR else f"the text of {THE_MODEL_BEFORE}"
    gain = measure.gain(text)
    if text.text == TEXT_BEFORE and not text.documents:
        return Rule("forgetting", True, f"{what} is gone from its folder: whether it is remembered was not measured")
    if gain is None:
        return Rule("forgetting", False, f"{what} has nothing to predict: give it whole sentences and documents")
    passed = gain.value >= -measure.forgetting
    told = f"{measure.name} on {what} {measure.told(gain.value)}, {_limit(passed, measure.told(-measure.forgetting))}"
    return Rule("forgetting", passed, f"{'remembered' if passed else 'forgotten'}: {told}")


def _limit(kept: bool, limit: str) -> str:
    return f"{'within' if kept else 'beyond'} the limit of {limit}"


def _probe_holds(probe: Mapping[str, Any]) -> Rule:
    after, before = probe["candidate"]["mean"], probe["baseline"]["mean"]
    limit = -probe["settings"]["max_loss"]
    passed = after - before >= limit
    spread = f"spread {probe['candidate']['spread']:.2%} and {probe['baseline']['spread']:.2%}"
    return Rule(
        "probe",
        passed,
        f"probe's accuracy {before:.2%} → {after:.2%} ({spread}), {_limit(passed, f'{100 * limit:+.2f} points')}",
    )
