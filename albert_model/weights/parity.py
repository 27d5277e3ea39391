"""Whether two models compute the same, and if not, why.

Everything is held against `reference.forward` in float64. In float64 a network that is right agrees with it to about
1e-12, so that 1e-9 decides. In float32 two right implementations differ by rounding, by how much depends on the
weights (5e-6 in a small model, 1e-2 in albert-large): what runs in float32 may be ten times as far off as the reference
is when it computes in float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import keras
import numpy as np

from albert_model.config import Activation, AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, AlbertPretrainer
from albert_model.weights import network as network_weights
from albert_model.weights import reference
from albert_model.weights.model import Model
from albert_model.weights.names import ROLES, Role, Run, parameters
from albert_model.weights.source import Source

Inputs = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]  # as of `reference.forward`; all but `sequence_output` may be missing
Cases = dict[str, Inputs]

FLOAT64_TOLERANCE = 1e-9
FLOAT32_TOLERANCE = 2e-5
# How much further than the reference in float32 another one may be from the truth.
_NOISE_FACTOR = 10.0
# Beyond this, float32 says nothing about these weights.
_MOST_NOISE = 0.05
_HEAD_COUNTS = (12, 16, 32, 64)
_SHORT_LENGTH = 48
_SHORT_ROW = 64
_LAYER_POSITIONS = 16  # of a longer row
_OF_HEADS: Mapping[Role, str] = {"mlm": "mlm_logits", "sop": "sop_logits"}


# === What is put in ===


def make_inputs(config: AlbertConfig, mask_id: int = 4, seed: int = 0) -> Cases:
    """Inputs that show what may go wrong.

    Returns:
      By name: `padded` (three rows of different lengths, two segments, masked pieces), `permuted` (the same rows in
      another order), `full length` (one row as long as there are positions). Each has `ENCODER_INPUTS`, int [B, S],
      and `masked_lm_positions`, int [B, P].
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    short = min(_SHORT_LENGTH, config.max_position_embeddings)
    padded = _rows(rng, config, [short, 2 * short // 3, max(short // 3, 3)], short, mask_id)
    longest = config.max_position_embeddings
    return {
        "padded": padded,
        "permuted": {name: array[[2, 0, 1]] for name, array in padded.items()},
        "full length": _rows(rng, config, [longest], longest, mask_id),
    }


def _rows(rng: np.random.Generator, config: AlbertConfig, lengths: list[int], length: int, mask_id: int) -> Inputs:
    columns = np.arange(length)
    mask = (columns < np.array(lengths)[:, None]).astype(np.int32)
    segments = (columns >= np.array(lengths)[:, None] // 2).astype(np.int32) * mask
    ids = rng.integers(min(5, config.vocab_size - 1), config.vocab_size, mask.shape, dtype=np.int32) * mask
    masked = min(3, min(lengths) - 2)
    positions = np.stack([rng.choice(np.arange(1, n - 1), masked, replace=False) for n in lengths])
    np.put_along_axis(ids, positions, min(mask_id, config.vocab_size - 1), axis=1)
    values = (ids, mask, segments)
    return dict(zip(ENCODER_INPUTS, values, strict=True)) | {"masked_lm_positions": positions.astype(np.int32)}


# === What comes out ===


def run_reference(model: Model, cases: Cases, dtype: type[np.floating] = np.float64) -> dict[str, Outputs]:
    return {
        name: reference.forward(model.weights, model.config, inputs, _sampled(inputs), dtype)
        for name, inputs in cases.items()
    }


def run_source(load: Callable[[], Run], cases: Cases) -> dict[str, Outputs]:
    run = load()
    results = {name: run(inputs) for name, inputs in cases.items()}
    for name, outputs in results.items():
        if "encoder_outputs" in outputs:
            outputs["encoder_outputs"] = outputs["encoder_outputs"][:, :, _sampled(cases[name])].copy()
    return results


def run_network(network: AlbertPretrainer, cases: Cases, parts: Sequence[Role] = ROLES) -> dict[str, Outputs]:
    """What the Keras network computes with some of its parts."""
    wanted = ["sequence_output", "pooled_output", *(name for role, name in _OF_HEADS.items() if role in parts)]
    return {name: _run_case(network, inputs, wanted) for name, inputs in cases.items()}


def _run_case(network: AlbertPretrainer, inputs: Inputs, wanted: Sequence[str]) -> Outputs:
    """A function of its own, so that no case has the tensors of the one before in memory."""
    outputs = network(inputs)
    results = {key: np.asarray(keras.ops.convert_to_numpy(outputs[key])) for key in wanted}
    layers = [keras.ops.convert_to_numpy(layer[:, _sampled(inputs)]) for layer in outputs["encoder_outputs"]]
    return results | {"encoder_outputs": np.stack(layers)}


def _sampled(inputs: Inputs) -> slice:
    """Positions at which layers are compared: of all layers' outputs for a full row, xxlarge has 200 MB."""
    length = inputs["input_mask"].shape[1]
    return slice(None, None, 1 if length <= _SHORT_ROW else length // _LAYER_POSITIONS)


# === Comparison ===


@dataclass(frozen=True)
class Difference:
    """How far one output of one party is from another's.

    Attributes:
      output: pooled_output, sequence_output, mlm_logits, or layer 1, layer 2, …
      case: of the inputs.
      max_abs: largest difference of any value.
      relative: norm of the difference by the norm of the second party's output.
      cosine: the least of any vector.
      top_1, top_5: of MLM logits, the share of predictions whose first, whose five first pieces agree; else None.
      allowed: what `max_abs` may be.
    """

    output: str
    case: str
    max_abs: float
    relative: float
    cosine: float
    top_1: float | None
    top_5: float | None
    allowed: float

    @property
    def agrees(self) -> bool:
        return bool(self.max_abs <= self.allowed < np.inf)  # False for NaN

    @property
    def excess(self) -> float:
        """`max_abs` by what is allowed; infinite for NaN."""
        return float(np.nan_to_num(self.max_abs / self.allowed, nan=np.inf, posinf=np.inf))


@dataclass(frozen=True)
class Comparison:
    """Two parties' outputs."""

    first: str
    second: str
    differences: tuple[Difference, ...]

    @property
    def agrees(self) -> bool:
        return all(difference.agrees for difference in self.differences)

    def worst(self) -> list[Difference]:
        """For each output the case that is furthest from what is allowed."""
        by_output: dict[str, Difference] = {}
        for difference in self.differences:
            kept = by_output.get(difference.output)
            if kept is None or difference.excess > kept.excess:
                by_output[difference.output] = difference
        return list(by_output.values())


@dataclass(frozen=True)
class Report:
    """The result of a parity check.

    Attributes:
      comparisons: all pairs that were compared.
      causes: what explains a disagreement; empty if there is none.
    """

    comparisons: tuple[Comparison, ...]
    causes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return all(comparison.agrees for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        comparisons = [
            {
                "first": comparison.first,
                "second": comparison.second,
                "agrees": comparison.agrees,
                "differences": [asdict(d) | {"agrees": d.agrees} for d in comparison.differences],
            }
            for comparison in self.comparisons
        ]
        return {"agrees": self.agrees, "causes": list(self.causes), "comparisons": comparisons}


@dataclass(frozen=True)
class Party:
    """Someone's outputs for every case.

    Attributes:
      name: for the report.
      outputs: by case.
      exact: computed in float64.
    """

    name: str
    outputs: Mapping[str, Outputs]
    exact: bool


def compare(first: Party, second: Party, cases: Cases, noise: float | None = None) -> Comparison:
    """Compares what both parties give.

    Args:
      first, second: parties.
      cases: for the masks: what stands at padding does not count.
      noise: what rounding does, relative to the largest values; None if both parties are exact.
    """
    differences = []
    for case, inputs in cases.items():
        valid = inputs["input_mask"].astype(bool)
        pairs = _pairs(first.outputs[case], second.outputs[case], valid, valid[:, _sampled(inputs)])
        for output, ours, theirs in pairs:
            scale = max(1.0, float(np.abs(theirs).max()))
            allowed = FLOAT64_TOLERANCE * scale
            if noise is not None:
                allowed = scale * max(FLOAT32_TOLERANCE, min(_NOISE_FACTOR * noise, _MOST_NOISE))
            differences.append(_difference(output, case, ours, theirs, allowed))
    return Comparison(first.name, second.name, tuple(differences))


def _pairs(
    first: Outputs, second: Outputs, valid: np.ndarray, sampled: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Vectors [N, *] of every output that both have; those at padding left out."""
    if "encoder_outputs" in first and "encoder_outputs" in second:
        layers = zip(first["encoder_outputs"], second["encoder_outputs"], strict=True)
        for number, (ours, theirs) in enumerate(layers, 1):
            yield f"layer {number}", ours[sampled], theirs[sampled]
    for name in ("sequence_output", "pooled_output", *_OF_HEADS.values()):
        if name in first and name in second:
            ours, theirs = first[name], second[name]
            if ours.shape != theirs.shape:
                yield name, np.full(1, np.inf)[None], np.zeros((1, 1))
            elif name == "sequence_output":
                yield name, ours[valid], theirs[valid]
            else:
                yield name, ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, theirs.shape[-1])


@np.errstate(invalid="ignore")  # of NaN, which never counts as agreement
def _difference(output: str, case: str, ours: np.ndarray, theirs: np.ndarray, allowed: float) -> Difference:
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    size = np.linalg.norm(theirs)
    norms = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    cosine = (ours * theirs).sum(-1) / np.maximum(norms, 1e-300)
    top_1 = top_5 = None
    if output == "mlm_logits" and ours.shape[-1] >= 5:
        top_1 = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
        best = [np.sort(np.argpartition(logits, -5, axis=-1)[:, -5:], -1) for logits in (ours, theirs)]
        top_5 = float((best[0] == best[1]).all(-1).mean())
    return Difference(
        output=output,
        case=case,
        max_abs=float(np.abs(ours - theirs).max()),
        relative=float(np.linalg.norm(ours - theirs) / np.maximum(size, 1e-300)),
        cosine=float(cosine.min()),
        top_1=top_1,
        top_5=top_5,
        allowed=allowed,
    )


# === A conversion ===


@dataclass(frozen=True)
class Truth:
    """What a converted network is held against.

    Attributes:
      model: the weights.
      cases: of inputs.
      reference: what the weights compute in float64.
      noise: what rounding does to that in float32.
      source: what the source computed by itself, if it can be run.
    """

    model: Model
    cases: Cases
    reference: Party
    noise: float
    source: Party | None


def establish(source: Source, model: Model) -> Truth:
    """Runs the source and the reference, before a network takes its memory.

    Args:
      source: where the model came from.
      model: the same, heads that it had not added.
    """
    cases = make_inputs(model.config, _mask_id(model))
    itself = Party(f"{source.format} itself", run_source(source.load, cases), False) if source.load else None
    exact = Party("reference (float64)", run_reference(model, cases), True)
    return Truth(model, cases, exact, _noise(model, exact, cases), itself)


def single(truth: Truth, network: AlbertPretrainer) -> Party:
    """The converted network in float32."""
    return Party("converted, float32", run_network(network, truth.cases, truth.model.roles), False)


def double(truth: Truth) -> Party:
    """The converted network in float64."""
    model = truth.model
    network = network_weights.streamed(model.config, model.weights, model.source, "float64")
    return Party("converted, float64", run_network(network, truth.cases, truth.model.roles), True)


def judge(truth: Truth, converted: Party, converted_exact: Party) -> Report:
    """Compares all of them."""
    noise = truth.noise
    comparisons = [
        compare(converted_exact, truth.reference, truth.cases),
        compare(converted, truth.reference, truth.cases, noise),
    ]
    causes = [
        f"{comparison.first} does not compute what the weights say, from {_first_off(comparison)} on"
        for comparison in comparisons
        if not comparison.agrees
    ]
    if truth.source is not None:
        with_source = compare(truth.source, converted, truth.cases, noise)
        comparisons.insert(0, with_source)
        if not with_source.agrees:
            causes += explain(truth.model, truth.cases, truth.source, noise) or [
                f"{truth.source.name} and the converted network differ, from {_first_off(with_source)} on"
            ]
    return Report(tuple(comparisons), tuple(causes))


def _noise(model: Model, exact: Party, cases: Cases) -> float:
    """What rounding does to these weights: the reference in float32 against itself in float64.

    One number for all outputs, relative to their largest values: an output of few values may be right by luck.
    """
    rounded = Party("reference (float32)", run_reference(model, cases, np.float32), False)
    differences = compare(rounded, exact, cases).differences
    return max(d.max_abs / d.allowed for d in differences) * FLOAT64_TOLERANCE


def _mask_id(model: Model) -> int:
    pieces = model.vocabulary.pieces if model.vocabulary else ()
    return pieces.index("[MASK]") if "[MASK]" in pieces else 4


def _first_off(comparison: Comparison) -> str:
    return next(difference.output for difference in comparison.differences if not difference.agrees)


# === Why ===


def explain(model: Model, cases: Cases, other: Party, noise: float) -> list[str]:
    """What would make the model compute what the other party does: other heads, another activation, or both."""
    config = model.config
    case = {"padded": cases["padded"]}
    for heads, activation in _variants(config):
        changed = config.model_copy(update={"num_attention_heads": heads, "hidden_act": activation})
        exact = Party("", run_reference(Model(changed, model.weights, model.vocabulary), case), True)
        if compare(other, exact, case, noise).agrees:
            said = {"num_attention_heads": config.num_attention_heads, "hidden_act": config.hidden_act}
            found = [
                f"{key} {getattr(changed, key)}, where the config says {value}"
                for key, value in said.items()
                if getattr(changed, key) != value
            ]
            return [f"{other.name} computes with " + " and with ".join(found)]
    as_said = compare(other, Party("", run_reference(model, cases), True), cases, noise)
    if as_said.agrees:
        return []
    return [
        f"{other.name} differs from {_first_off(as_said)} on; no other number of heads and no other activation "
        "explains it"
    ]


def _variants(config: AlbertConfig) -> Iterator[tuple[int, str]]:
    """Heads and activations to try, the likely ones first."""
    heads = dict.fromkeys((config.num_attention_heads, max(config.hidden_size // 64, 1), *_HEAD_COUNTS))
    possible = [count for count in heads if config.hidden_size % count == 0]
    activations = dict.fromkeys((config.hidden_act, *get_args(Activation)))
    variants = sorted(itertools.product(possible, activations), key=lambda v: _changes(v, config))
    return (variant for variant in variants if _changes(variant, config))


def _changes(variant: tuple[int, str], config: AlbertConfig) -> int:
    return (variant[0] != config.num_attention_heads) + (variant[1] != config.hidden_act)


# === Two or three sources ===


def compare_sources(sources: Sequence[Source]) -> Report:
    """Whether sources compute the same, each by itself where it can be run, else by its weights in float64.

    Of three, it says which one disagrees with the other two.

    Raises:
      InputError: their sizes differ, so that there is nothing to compare.
    """
    _check_sizes(sources)
    names = _names(sources)
    models = [source.model for source in sources]
    cases = make_inputs(models[0].config, _mask_id(models[0]))
    exact = [
        Party(f"{name} (weights, float64)", run_reference(model, cases), True)
        for name, model in zip(names, models, strict=True)
    ]
    itself = [
        Party(name, run_source(source.load, cases), False) if source.load else None
        for name, source in zip(names, sources, strict=True)
    ]
    noise = _noise(models[0], exact[0], cases)
    own = {i: compare(party, exact[i], cases, noise) for i, party in enumerate(itself) if party}
    parties = [party or weights for party, weights in zip(itself, exact, strict=True)]
    pairs = {
        (i, j): compare(parties[i], parties[j], cases, None if parties[i].exact and parties[j].exact else noise)
        for i, j in itertools.combinations(range(len(parties)), 2)
    }
    causes: list[str] = []
    for i, comparison in own.items():
        if not comparison.agrees:
            causes += explain(models[i], cases, parties[i], noise)
    for (i, j), pair in pairs.items():
        if not pair.agrees:
            causes += list(_what_differs(names, models, i, j)) or explain(models[i], cases, parties[j], noise)
    causes += _odd_one(names, pairs)
    return Report((*own.values(), *pairs.values()), tuple(dict.fromkeys(causes)))


_SIZES = (
    *("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size"),
)


def _check_sizes(sources: Sequence[Source]) -> None:
    first, *others = sources
    for other in others:
        for size in _SIZES:
            ours, theirs = getattr(first.model.config, size), getattr(other.model.config, size)
            if ours != theirs:
                raise InputError(f"{other.name}: {size} is {theirs}, that of {first.name} is {ours}: no same model.")


def _names(sources: Sequence[Source]) -> list[str]:
    """The sources' names, told apart."""
    names = [source.name for source in sources]
    return names if len(set(names)) == len(names) else [f"{name} ({i})" for i, name in enumerate(names, 1)]


def _what_differs(names: Sequence[str], models: Sequence[Model], i: int, j: int) -> Iterator[str]:
    """Where configs and weights differ."""
    ours, theirs = models[i].config.network(), models[j].config.network()
    for key in ours:
        if key != "architecture" and ours[key] != theirs[key]:
            yield f"{key} is {ours[key]} in {names[i]} and {theirs[key]} in {names[j]}"
    if ours["num_hidden_groups"] != theirs["num_hidden_groups"]:
        return
    gaps = {}
    for row in parameters(models[i].config):
        if row.name in models[i].weights and row.name in models[j].weights:
            gap = float(np.abs(models[i].weights[row.name] - models[j].weights[row.name]).max())
            if gap > 0:
                gaps[row.name] = gap
    if gaps:
        largest = max(gaps, key=lambda name: gaps[name])
        yield (
            f"{names[i]} and {names[j]} hold other values in {len(gaps)} arrays, most of all in {largest} "
            f"(by {gaps[largest]:.3g})"
        )


def _odd_one(names: Sequence[str], pairs: Mapping[tuple[int, int], Comparison]) -> list[str]:
    agreeing = [pair for pair, comparison in pairs.items() if comparison.agrees]
    if len(names) != 3 or len(agreeing) != 1:
        return []
    (odd,) = {0, 1, 2} - set(agreeing[0])
    one, other = agreeing[0]
    return [f"{names[odd]} disagrees: {names[one]} and {names[other]} compute the same"]
