import json

import pytest

from albert_model.evaluation import verdict as verdicts
from albert_model.evaluation.scores import Interval
from albert_model.evaluation.settings import JudgeSettings
from albert_model.evaluation.verdict import (
    ANCHOR,
    BITS_PER_CHARACTER,
    NO_BASELINE,
    SAME_PREDICTIONS,
    TEXT_BEFORE,
    THIS_TEXT,
    TextFigures,
    judge,
)


def figures(**values):
    """Exact ones; of those that are not given, None."""
    names = ("mlm_accuracy", "mlm_loss", "sop_accuracy", "bits_per_character")
    return {name: as_interval(values[name]) if values.get(name) is not None else None for name in names}


def as_interval(value):
    return Interval(*value) if isinstance(value, tuple) else Interval(value, value, value)


def text(gain=None, name=THIS_TEXT, domain=None, figure="mlm_accuracy", documents=100, accuracy=0.3, sop=0.8, loss=4.0):
    """A text on which the candidate gains so much; None: no baseline."""
    return TextFigures(
        text=name,
        domain=domain,
        documents=documents,
        examples=10 * documents,
        candidate=figures(mlm_accuracy=accuracy, mlm_loss=loss, sop_accuracy=sop),
        baseline=None if gain is None else figures(mlm_accuracy=0.3),
        difference=None if gain is None else figures(**{figure: gain}),
    )


def failed(verdict):
    return [rule.name for rule in verdict.rules if not rule.passed]


GOOD = (0.02, 0.01, 0.03)


@pytest.mark.parametrize(
    ("texts", "broken"),
    [
        ([text(GOOD)], []),
        ([text((0.0005, 0.0001, 0.001))], ["gain"]),
        ([text((0.02, -0.001, 0.04))], ["gain"]),
        ([text((-0.02, -0.03, -0.01))], ["gain"]),
        ([text(GOOD), text(GOOD, domain="law")], []),
        ([text(GOOD), text(GOOD, domain="law"), text((-0.05, -0.06, -0.04), domain="tax")], ["domain tax"]),
        ([text(GOOD), text(GOOD, domain="law"), text((-0.05, -0.2, 0.1), domain="tax")], []),
        ([text(GOOD), text(GOOD, domain="law"), text((-0.005, -0.006, -0.004), domain="tax")], []),
        ([text(GOOD), text(GOOD, domain="law"), text((-0.012, -0.014, -0.009), domain="tax")], []),
        ([text(GOOD), text(GOOD, domain="law"), text((-0.05, -0.05, -0.05), domain="tax", documents=1)], []),
        ([text(GOOD), text((-0.005, -0.02, 0.0), TEXT_BEFORE)], []),
        ([text(GOOD), text(None, TEXT_BEFORE, documents=0)], []),
        ([text(GOOD), text(None, ANCHOR, documents=0)], ["forgetting"]),
        ([text(GOOD, loss=None)], ["finite loss"]),
        ([text(GOOD), text((-0.03, -0.04, -0.02), TEXT_BEFORE)], ["forgetting"]),
        ([text(GOOD), text((-0.03, -0.04, -0.02), ANCHOR)], ["forgetting"]),
        ([text(GOOD), text(GOOD, ANCHOR), text((-0.5, -0.6, -0.4), ANCHOR, "news")], []),
        ([text(GOOD, accuracy=0.001)], ["floor of MLM accuracy"]),
        ([text(GOOD, documents=3)], ["enough text"]),
        ([text((-0.5, -0.6, -0.4), documents=3)], ["enough text"]),
    ],
    ids=[
        *("better", "too little better", "perhaps by chance", "worse", "one domain", "a domain lost"),
        *("a domain perhaps lost", "a domain lost a little", "a domain perhaps lost no more than it may"),
        *("a domain of one document", "the text before lost a little", "the text before is gone"),
        *(
            "an anchor without an example",
            "a loss that is no number",
            "the text before was forgotten",
            "the anchor was forgotten",
            "a domain of the anchor",
        ),
        *("below the floor", "three documents", "three documents, and worse"),
    ],
)
def test_rules_where_both_models_make_the_same_predictions(texts, broken):
    verdict = judge(texts, JudgeSettings(), SAME_PREDICTIONS, "models/1")
    assert failed(verdict) == broken
    assert verdict.blessed == (not broken)
    assert verdict.summary.startswith("not blessed: " if broken else "blessed: MLM accuracy +2.00 points (95%: +1.00")


@pytest.mark.parametrize(
    ("gains", "broken"),
    [((GOOD, GOOD), []), ((GOOD, (0.02, -0.01, 0.05)), ["gain"]), (((-0.1, -0.2, -0.05), GOOD), ["gain"])],
)
def test_every_domain_must_gain_where_that_is_asked_for(gains, broken):
    texts = [text(GOOD), *(text(gain, domain=name) for gain, name in zip(gains, ("law", "tax"), strict=True))]
    assert failed(judge(texts, JudgeSettings(gain_in="every domain"), SAME_PREDICTIONS)) == broken


def test_a_small_domain_cannot_show_that_it_gained():
    texts = [text(GOOD), text(GOOD, domain="law"), text(GOOD, domain="tax", documents=3)]
    verdict = judge(texts, JudgeSettings(gain_in="every domain"), SAME_PREDICTIONS)
    assert "tax has 3 held-out documents, 20 are needed at least where every domain must gain" in verdict.summary


@pytest.mark.parametrize(
    ("bits", "broken"),
    [
        ((-0.2, -0.3, -0.1), []),
        ((0.2, 0.1, 0.3), ["gain"]),
        ((-0.005, -0.006, -0.004), ["gain"]),
        ((-0.2, -0.5, 0.1), ["gain"]),
    ],
    ids=["fewer bits", "more bits", "too little fewer", "perhaps by chance"],
)
def test_bits_per_character_decide_between_vocabularies(bits, broken):
    verdict = judge([text(bits, figure="bits_per_character")], JudgeSettings(), BITS_PER_CHARACTER, "models/1")
    assert failed(verdict) == broken
    told = verdict.rules[-1].said
    assert told.startswith(f"bits per character {bits[0]:+.3f} (95%: {bits[2]:+.3f} to {bits[1]:+.3f})")


def test_more_bits_for_the_anchor_are_forgetting():
    texts = [text((-0.2, -0.3, -0.1), figure="bits_per_character")]
    texts.append(text((0.1, 0.09, 0.11), ANCHOR, figure="bits_per_character"))
    verdict = judge(texts, JudgeSettings(), BITS_PER_CHARACTER)
    assert failed(verdict) == ["forgetting"]
    assert verdict.summary == (
        "not blessed: forgotten: bits per character on the anchor text +0.100, beyond the limit of +0.050"
    )


def test_without_a_baseline_the_floors_decide():
    verdict = judge([text()], JudgeSettings(), NO_BASELINE)
    assert verdict.summary == "blessed: above the floors, no model to compare with"
    verdict = judge([text(sop=0.5)], JudgeSettings(min_sop_accuracy=0.6), NO_BASELINE)
    assert verdict.summary == "not blessed: SOP accuracy 50.00% is below the floor of 60.00%"
    assert judge([text(sop=None)], JudgeSettings(min_sop_accuracy=0.6), NO_BASELINE).blessed
    assert not judge([text(accuracy=None)], JudgeSettings(), NO_BASELINE).blessed


def test_too_little_text_says_how_much_is_needed():
    verdict = judge([text(GOOD, documents=3)], JudgeSettings(), SAME_PREDICTIONS)
    assert "3 documents held out (30 examples): 20 documents are needed at least" in verdict.summary


def test_chance_says_how_many_documents_would_tell():
    """Half as wide an interval needs four times the documents."""
    verdict = judge([text((0.01, -0.01, 0.03))], JudgeSettings(), SAME_PREDICTIONS)
    assert "about 400 held-out documents would tell, there are 100" in verdict.summary


def test_text_whose_words_are_in_no_order_is_not_blessed():
    verdict = judge([text(GOOD)], JudgeSettings(), SAME_PREDICTIONS, word_order=0.001)
    assert failed(verdict) == ["word order"]
    assert "reads as if its words were shuffled: word order 0.1%, below 2.0%" in verdict.summary
    assert judge([text(GOOD)], JudgeSettings(), SAME_PREDICTIONS, word_order=0.1).blessed
    assert judge([text(GOOD)], JudgeSettings(min_word_order=0), SAME_PREDICTIONS, word_order=0.001).blessed


@pytest.mark.parametrize(("after", "passed"), [(0.81, True), (0.795, True), (0.78, False)])
def test_the_probe_must_hold(after, passed):
    scores = {"candidate": {"mean": after, "spread": 0.01}, "baseline": {"mean": 0.8, "spread": 0.01}}
    probe = {"settings": {"max_loss": 0.01}, **scores}
    verdict = judge([text(GOOD)], JudgeSettings(), SAME_PREDICTIONS, probe=probe)
    assert verdict.rules[-1].name == "probe"
    assert verdict.blessed == passed


def test_a_probe_of_one_model_alone_decides_nothing():
    probe = {"settings": {"max_loss": 0.01}, "candidate": {"mean": 0.5, "spread": 0.01}, "baseline": None}
    assert judge([text()], JudgeSettings(), NO_BASELINE, probe=probe).blessed


def test_a_verdict_as_json():
    verdict = judge([text(GOOD), text(GOOD, ANCHOR)], JudgeSettings(), SAME_PREDICTIONS, "models/1")
    read = json.loads(verdict.to_json())
    assert (read["format_version"], read["blessed"], read["baseline"]) == (verdicts.FORMAT_VERSION, True, "models/1")
    assert [each["text"] for each in read["texts"]] == [THIS_TEXT, ANCHOR]
    assert read["texts"][0]["difference"]["mlm_accuracy"] == {"value": 0.02, "low": 0.01, "high": 0.03}
    assert read["rules"][0] == {
        "name": "enough text",
        "passed": True,
        "said": "100 documents held out (1,000 examples)",
    }
