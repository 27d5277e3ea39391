"""What an encoder package must compute: taken from the model itself, and handed over as a file without pickle."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS
from albert_model.text.ragged import Ragged
from albert_model.text.tokenizer import Tokenizer
from albert_model.weights import parity, saved_model
from albert_model.weights.model import Model
from albert_model.weights.names import ROLES, Weights
from albert_model.weights.parity import Cases, Inputs, Outputs, Party

# Sentences in which the ways to cut text differ: accents, marks that are put together, full-width letters, quotes of
# every kind, numbers with commas, scripts without spaces, emoji, and what is no text.
GOLDEN = (
    "The court held that the agreement was void, and the appeal was dismissed with costs.",
    "She opened the window, listened for a while, and said nothing of what she had heard.",
    "Café naïve façade, coöperate; El Niño, Ångström and Łódź.",
    "``Quoted'' text, “curly” and ‘single’, «guillemets» and \"plain\" ones: it's, don't.",
    "In 1,234,567 cases out of 53, about 3.5 %, at £5, or €3,000, since 1,2,3,",
    "日本語の文章と中文句子，没有空格。한국어 문장도 있다.",
    "Привет, мир! Γειά σου Κόσμε. हिन्दी वाक्य, ประโยคภาษาไทย",
    "Thanks 👍🏽 and 🎉🎉 from 👩‍👩‍👧 in 🇩🇪 ❤️",
    "ＦＵＬＬ width ½ ﬁne İstanbul ẞ e\u0301 x\u0301\u0302y A\u030a",
    "tab\there\u00a0nbsp\u3000ideographic\u200bzero \u00ad soft \ufeffmark",
    "SELECT count(*) FROM t WHERE a_b <> 'x' AND c >= 10; -- don’t MiXeD-CaSe",
    "   ",
)
NUMBER_WITH_COMMA = re.compile(r"\d,")
_MASKED = 4  # pieces to predict in a row
_PADDED_LENGTH = 48
_SHORTEST = 8
_COMPARED = ("sequence_output", "pooled_output", "mlm_logits")


@dataclass(frozen=True)
class Expected:
    """What a model is, as far as a package of it can be checked against.

    Attributes:
      config: sizes.
      fingerprint: of the tokenizer.
      do_lower_case: of the tokenizer.
      ids: of each of GOLDEN, without special pieces; int32.
      digests: of every array, by canonical name.
      cases: inputs by name, see `parity.make_inputs`; here of real sentences.
      outputs: `sequence_output`, `pooled_output` and `mlm_logits` of every case, float32.
      noise: what rounding to float32 does to them, relative to their largest values.
    """

    config: AlbertConfig
    fingerprint: str
    do_lower_case: bool
    ids: Ragged
    digests: Mapping[str, str]
    cases: Cases
    outputs: Mapping[str, Outputs]
    noise: float

    @property
    def party(self) -> Party:
        return Party("the model that was trained", self.outputs, False)

    def write(self, path: str | Path) -> None:
        """Writes an `.npz` of plain arrays."""
        said = {
            "config": json.loads(self.config.to_json()),
            "fingerprint": self.fingerprint,
            "do_lower_case": self.do_lower_case,
            "digests": dict(self.digests),
            "noise": self.noise,
        }
        arrays = {"said": np.array(json.dumps(said)), "ids": self.ids.values, "offsets": self.ids.offsets}
        for kind, by_case in (("cases", self.cases), ("outputs", self.outputs)):
            for case, named in by_case.items():
                arrays |= {f"{kind}/{case}/{name}": array for name, array in named.items()}
        with Path(path).open("wb") as file:
            np.savez(file, **arrays)

    @staticmethod
    def read(path: str | Path) -> Expected:
        """Reads what `write` wrote."""
        nested: dict[str, dict[str, dict[str, np.ndarray]]] = {"cases": {}, "outputs": {}}
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                if key.count("/") == 2:
                    kind, case, name = key.split("/")
                    nested[kind].setdefault(case, {})[name] = file[key]
            said = json.loads(str(file["said"]))
            ids = Ragged(file["ids"], file["offsets"])
        config = AlbertConfig.from_values(said.pop("config"), str(path))
        return Expected(config=config, ids=ids, cases=nested["cases"], outputs=nested["outputs"], **said)


def expected_of(model: Model) -> Expected:
    """Runs the model, on the processor: what an accelerator rounds away would count as a difference.

    Args:
      model: with all heads and a vocabulary.
    """
    tokenizer = model.tokenizer
    ids = tokenizer.encode(GOLDEN)
    cases = make_cases(model.config, tokenizer, ids)
    with tf.device("/CPU:0"):
        network = model.network()
        outputs = compared(parity.run_network(network, cases, ROLES))
    saved_model.release(network)
    return Expected(
        config=model.config,
        fingerprint=tokenizer.fingerprint,
        do_lower_case=tokenizer.do_lower_case,
        ids=ids,
        digests=digests_of(model.weights),
        cases=cases,
        outputs=outputs,
        noise=_noise(model, cases, outputs),
    )


def compared(outputs: Mapping[str, Outputs]) -> dict[str, Outputs]:
    """Those outputs that all forms of a package have, or some."""
    return {case: {name: own[name] for name in _COMPARED if name in own} for case, own in outputs.items()}


def digests_of(weights: Weights) -> dict[str, str]:
    """Of every array's values."""
    return {name: digest(weights[name]) for name in weights}


def digest(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array, "<f4").data, digest_size=16).hexdigest()


def _noise(model: Model, cases: Cases, outputs: Mapping[str, Outputs]) -> float:
    """How far float32 is from float64 for these weights, relative to the largest values of an output."""
    exact = Party("", compared(parity.run_reference(model, cases)), True)
    differences = parity.compare(Party("", outputs, False), exact, cases).differences
    return max(d.max_abs / d.allowed for d in differences) * parity.FLOAT64_TOLERANCE


# === Inputs of real sentences ===


def make_cases(config: AlbertConfig, tokenizer: Tokenizer, ids: Ragged) -> Cases:
    """Batches of several sizes and lengths, with one segment and two, padding and masks.

    Returns:
      By name: `one segment` (one row), `padded` (four rows of different lengths, two segments), `full length` (one row
      as long as there are positions). Each has `ENCODER_INPUTS`, int32 [B, S], and `masked_lm_positions`, int32 [B, P].
    """
    sentences = [row for row in ids.rows() if len(row)]
    longest = config.max_position_embeddings
    everything = np.concatenate(sentences)
    repeated = np.tile(everything, 1 + longest // len(everything))
    full = (repeated[: longest // 2], repeated[longest // 2 : longest])
    width = min(_PADDED_LENGTH, longest)
    falling = [width, 3 * width // 4, width // 2, max(width // 4, _SHORTEST)]
    return {
        "one segment": _batch([(sentences[0], full[0][:0])], tokenizer, [width]),
        "padded": _batch(_pairs(sentences)[: len(falling)], tokenizer, falling),
        "full length": _batch([full], tokenizer, [longest]),
    }


def _pairs(sentences: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each with a part of the next, of another length every time."""
    return [(a, b[: 1 + 3 * i]) for i, (a, b) in enumerate(itertools.pairwise(sentences))]


def _batch(pairs: Sequence[tuple[np.ndarray, np.ndarray]], tokenizer: Tokenizer, lengths: Sequence[int]) -> Inputs:
    """[CLS] A [SEP] B [SEP], each row cut to its length and padded to the longest; some pieces masked."""
    shape = (len(pairs), max(lengths))
    words, mask, types = (np.zeros(shape, np.int32) for _ in ENCODER_INPUTS)
    positions = np.zeros((len(pairs), _MASKED), np.int32)
    for row, ((first, second), length) in enumerate(zip(pairs, lengths, strict=True)):
        room = length - 2 - bool(len(second))
        second = second[: room // 2]
        first = first[: room - len(second)]
        pieces = [tokenizer.cls_id, *first, tokenizer.sep_id]
        types[row, len(pieces) : len(pieces) + len(second) + 1] = 1 if len(second) else 0
        pieces += [*second, tokenizer.sep_id] if len(second) else []
        words[row, : len(pieces)], mask[row, : len(pieces)] = pieces, 1
        positions[row] = np.linspace(1, len(first), _MASKED).astype(np.int32)
        words[row, positions[row]] = tokenizer.mask_id
    return dict(zip(ENCODER_INPUTS, (words, mask, types), strict=True)) | {MLM_POSITIONS: positions}
