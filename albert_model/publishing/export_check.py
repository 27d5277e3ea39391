"""Whether an encoder package does what its readers will ask of it.

    python -m albert_model.publishing.export_check PACKAGE EXPECTED.npz RESULTS.json

Runs every check on the package as its users would load it, and writes after each one what is known so far: whoever
started this process (`export_process.py`) sees then at which check it died.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS
from albert_model.publishing import model_server
from albert_model.publishing.export_expected import GOLDEN, NUMBER_WITH_COMMA, Expected, compared, digest
from albert_model.text import vocabulary as vocabularies
from albert_model.text.sentencepiece_tokenizer import WORD_MARK, is_split_again
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import huggingface, huggingface_tokenizer, keras_h5, network, package, parity, saved_model
from albert_model.weights.names import ROLES, Role, Weights, parameters
from albert_model.weights.parity import Outputs, Party

_ENCODER: tuple[Role, ...] = ("encoder", "pooler")
_FEW = 3  # names in a message
_SHOWN = 6  # ids in a message


@dataclass(frozen=True)
class Check:
    """What came of a check.

    Attributes:
      name: of `CHECKS`, or of what kept them from running.
      passed: None where it could not run here.
      said: one sentence.
      seconds: that it took.
    """

    name: str
    passed: bool | None
    said: str
    seconds: float = 0.0


class CheckError(Exception):
    """A check does not pass; the message says why."""


class CannotRunError(Exception):
    """A check needs what is not here; the message says what."""


@dataclass
class Export:
    """A package that is checked.

    Attributes:
      folder: of the package.
      expected: what it must be.
      computed: outputs of the forms that ran so far, by the form's name.
    """

    folder: Path
    expected: Expected
    computed: dict[str, Mapping[str, Outputs]] = field(default_factory=dict)

    @cached_property
    def module(self) -> Any:
        """The SavedModel, loaded."""
        return tf.saved_model.load(str(self.folder / package.SAVED_MODEL))

    @property
    def huggingface(self) -> Path:
        return self.folder / package.HUGGINGFACE

    def must_agree(self, form: str, outputs: Mapping[str, Outputs], keep: bool = True) -> str:
        """Compares a form's outputs with the trained model's.

        Raises:
          CheckError: they are further apart than rounding explains.
        """
        if keep:
            self.computed[form] = outputs
        return _same(Party(form, outputs, False), self.expected.party, self.expected)


def _same(first: Party, second: Party, expected: Expected) -> str:
    comparison = parity.compare(first, second, expected.cases, expected.noise)
    worst = comparison.worst()
    for found in worst:
        if not found.agrees:
            raise CheckError(
                f"{first.name} and {second.name} differ in {found.output} by {found.max_abs:.3g} ({found.case}; "
                f"{found.allowed:.3g} is allowed)"
            )
    return f"{', '.join(d.output for d in worst)} as in training, to {max(d.max_abs for d in worst):.1g}"


# === Files ===


def check_config(export: Export) -> str:
    """Every `config.json` names the sizes of the model."""
    wanted = export.expected.config
    files = (export.folder / package.CONFIG, export.folder / package.SAVED_MODEL / "assets.extra" / package.CONFIG)
    for path in files:
        _must_be_config(path, AlbertConfig.from_file(path), wanted)
    _must_be_config(export.huggingface / huggingface.CONFIG, huggingface.read_config(export.huggingface), wanted)
    return "the sizes are the model's in all files"


def _must_be_config(path: Path, found: AlbertConfig, wanted: AlbertConfig) -> None:
    ours, theirs = wanted.network(), found.network()
    different = [f"{key} is {theirs[key]}, should be {ours[key]}" for key in ours if ours[key] != theirs[key]]
    if different:
        raise CheckError(f"{_short(path)}: {'; '.join(different)}")


def check_weights(export: Export) -> str:
    """Every array in every file is the model's, to the bit."""
    folder, config = export.folder, export.expected.config
    for form, (roles, read) in {
        keras_h5.FULL_FILE: (ROLES, lambda: keras_h5.read(folder / keras_h5.FULL_FILE, config)),
        keras_h5.ENCODER_FILE: (_ENCODER, lambda: keras_h5.read(folder / keras_h5.ENCODER_FILE, config)),
        package.SAVED_MODEL: (ROLES, lambda: saved_model.read(_stored(folder), config)),
        package.HUGGINGFACE: (ROLES, lambda: huggingface.read_weights(export.huggingface, config)),
    }.items():
        _must_be_weights(form, roles, read()[0], export.expected)
    return f"{len(export.expected.digests)} arrays are the model's to the bit, in four files"


def _stored(folder: Path) -> Any:
    return saved_model.open_stored(folder / package.SAVED_MODEL)


def _must_be_weights(form: str, roles: Sequence[Role], weights: Weights, expected: Expected) -> None:
    names = [row.name for row in parameters(expected.config) if row.role in roles]
    different = [n for n in names if n not in weights or digest(weights[n]) != expected.digests[n]]
    if different:
        count = f"{len(different)} of {len(names)}"
        raise CheckError(f"{form}: not the weights of the model in {count} arrays: {few(different)}")


def few(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:_FEW]) + (", …" if len(names) > _FEW else "")


# === What is computed ===


def check_signatures(export: Export) -> str:
    """`serving_default` has the names, dtypes and shapes that clients rely on; the other calls are there."""
    signatures = export.module.signatures
    if model_server.SIGNATURE not in signatures:
        there = few(list(signatures)) or "none"
        raise CheckError(f"saved_model: has no signature {model_server.SIGNATURE} (it has: {there})")
    signature = signatures[model_server.SIGNATURE]
    hidden = export.expected.config.hidden_size
    _must_be_specs(
        "inputs", signature.structured_input_signature[1], dict.fromkeys(ENCODER_INPUTS, ("int32", "[?, ?]"))
    )
    wanted = {"pooled_output": ("float32", f"[?, {hidden}]"), "sequence_output": ("float32", f"[?, ?, {hidden}]")}
    _must_be_specs("outputs", signature.structured_outputs, wanted)
    missing = [name for name in ("__call__", "mlm") if not callable(getattr(export.module, name, None))]
    if missing:
        raise CheckError(f"saved_model: has no {' and no '.join(missing)}")
    return f"{model_server.SIGNATURE}: {', '.join(ENCODER_INPUTS)} → {', '.join(wanted)}"


def _must_be_specs(kind: str, specs: Mapping[str, Any], wanted: Mapping[str, tuple[str, str]]) -> None:
    found = {name: (spec.dtype.name, _shape(spec.shape)) for name, spec in specs.items()}
    if found != wanted:
        place = f"saved_model: the {kind} of {model_server.SIGNATURE}"
        raise CheckError(f"{place} are {_words(found)}; should be {_words(wanted)}")


def _shape(shape: tf.TensorShape) -> str:
    return "unknown" if shape.rank is None else f"[{', '.join('?' if n is None else str(n) for n in shape)}]"


def _words(specs: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"{name} {dtype} {shape}" for name, (dtype, shape) in sorted(specs.items()))


def check_saved_model(export: Export) -> str:
    """Signature, list call, dict call and `.mlm` compute what the model does, for batches of several sizes."""
    module = export.module
    calls: dict[str, Callable[[list[tf.Tensor], tf.Tensor], Mapping[str, Any]]] = {
        "signature": lambda x, _: module.signatures[model_server.SIGNATURE](**_named(x)),
        "list call": lambda x, _: dict(zip(("pooled_output", "sequence_output"), module(x), strict=True)),
        "dict call": lambda x, _: module(_named(x)),
        "mlm": lambda x, positions: module.mlm(_named(x) | {MLM_POSITIONS: positions}),
    }
    for call, run in calls.items():
        outputs = {
            case: {name: value.numpy() for name, value in run(*_tensors(inputs)).items() if _is_compared(name)}
            for case, inputs in export.expected.cases.items()
        }
        said = export.must_agree(f"saved_model ({call})", outputs, keep=call == "mlm")
    return f"signature, list call, dict call and mlm agree: {said}"


def _is_compared(name: str) -> bool:
    return name in ("pooled_output", "sequence_output", "mlm_logits")


def _tensors(inputs: Mapping[str, np.ndarray]) -> tuple[list[tf.Tensor], tf.Tensor]:
    return [tf.constant(inputs[name]) for name in ENCODER_INPUTS], tf.constant(inputs[MLM_POSITIONS])


def _named(tensors: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    return dict(zip(ENCODER_INPUTS, tensors, strict=True))


def check_encoder_h5(export: Export) -> str:
    """`tf2_model.h5` gives a network that computes what the encoder does."""
    return _check_h5(export, keras_h5.ENCODER_FILE, _ENCODER)


def check_full_h5(export: Export) -> str:
    """`tf2_model_full.h5` gives a network that computes what the model does."""
    return _check_h5(export, keras_h5.FULL_FILE, ROLES)


def _check_h5(export: Export, file: str, roles: Sequence[Role]) -> str:
    config = AlbertConfig.from_file(export.folder / package.CONFIG)
    weights, _ = keras_h5.read(export.folder / file, config)
    live = network.loaded(config, weights, file)
    outputs = compared(parity.run_network(live, export.expected.cases, roles))
    saved_model.release(live)
    return export.must_agree(file, outputs)


def check_huggingface(export: Export) -> str:
    """transformers computes what the model does, by the folder's own config."""
    _need_transformers()
    run = huggingface.runner(export.huggingface, huggingface.read_config(export.huggingface), ROLES)
    outputs = {case: run(inputs) for case, inputs in export.expected.cases.items()}
    return export.must_agree(package.HUGGINGFACE, compared(outputs))


def check_agreement(export: Export) -> str:
    """All forms that ran agree with each other."""
    parties = [Party(form, outputs, False) for form, outputs in export.computed.items()]
    if len(parties) < 2:
        raise CannotRunError("fewer than two forms of the model ran")
    for first, second in itertools.combinations(parties, 2):
        _same(first, second, export.expected)
    return f"{len(parties)} forms agree with each other"


def check_huggingface_keys(export: Export) -> str:
    """transformers finds every tensor that it wants, and none that it does not know."""
    _need_transformers()
    import transformers

    transformers.logging.disable_progress_bar()
    _, info = transformers.AutoModelForPreTraining.from_pretrained(
        str(export.huggingface), output_loading_info=True, local_files_only=True
    )
    amiss = {kind: found for kind, found in info.items() if found}
    if amiss:
        raise CheckError(
            "huggingface: " + "; ".join(f"{kind}: {few(sorted(map(str, f)))}" for kind, f in amiss.items())
        )
    return "no missing and no unexpected key"


def _need_transformers() -> None:
    if not huggingface.can_run():
        raise CannotRunError("transformers and torch are not installed here")


# === Vocabulary ===


def check_vocabulary(export: Export) -> str:
    """`vocab/` cuts text as in training."""
    found = Tokenizer.of(vocabularies.read(export.folder / package.VOCABULARY), package.VOCABULARY)
    return _must_cut_alike(package.VOCABULARY, found, export.expected)


def check_saved_model_vocabulary(export: Export) -> str:
    """The asset that `hub.KerasLayer(…).resolved_object` names cuts text as in training."""
    asset = next((a for n in ("sp_model_file", "vocab_file") if (a := getattr(export.module, n, None))), None)
    if asset is None:
        raise CheckError("saved_model: has no vocabulary among its assets (sp_model_file, vocab_file)")
    path = Path(asset.asset_path.numpy().decode())
    vocabulary = Vocabulary(path.read_bytes(), path.name, export.expected.do_lower_case)
    return _must_cut_alike("saved_model", Tokenizer.of(vocabulary, package.SAVED_MODEL), export.expected)


def _must_cut_alike(where: str, tokenizer: Tokenizer, expected: Expected) -> str:
    _must_have_ids(where, [row.tolist() for row in tokenizer.encode(GOLDEN).rows()], expected)
    if tokenizer.fingerprint != expected.fingerprint:
        raise CheckError(f"{where}: cuts the golden sentences as in training, but is another vocabulary")
    return f"{len(GOLDEN)} golden sentences have the ids of training"


def _must_have_ids(where: str, rows: Sequence[Sequence[int]], expected: Expected, excused: Sequence[str] = ()) -> None:
    for sentence, ours, row in zip(GOLDEN, rows, expected.ids.rows(), strict=True):
        theirs = row.tolist()
        if list(ours) != theirs and sentence not in excused:
            start = _first_difference(ours, theirs)
            found, wanted = (", ".join(map(str, ids[start : start + _SHOWN])) for ids in (ours, theirs))
            raise CheckError(
                f"{where}: {sentence!r} has other ids from piece {start} on: {found or 'none'}, …; "
                f"in training {wanted or 'none'}, …"
            )


def _first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False))
    return sum(1 for _ in same)


def check_huggingface_vocabulary(export: Export) -> str:
    """transformers' tokenizer, or where that is not installed the library below it, cuts text as in training."""
    vocabulary = _spelt_out(export)
    encode, reader = _their_tokenizer(export, vocabulary)
    excused = _beyond_tokenizer_json(vocabulary)
    _must_have_ids(package.HUGGINGFACE, encode(GOLDEN), export.expected, excused)
    but = f", but for {len(excused)} with numbers such as 53, (a limit of tokenizer.json)" if excused else ""
    return f"{len(GOLDEN)} golden sentences have the ids of training in {reader}{but}"


def _spelt_out(export: Export) -> Vocabulary:
    """The vocabulary file of the folder."""
    for name in (huggingface_tokenizer.SENTENCEPIECE_FILE, huggingface_tokenizer.WORDPIECE_FILE):
        path = export.huggingface / name
        if path.is_file():
            vocabulary = Vocabulary(path.read_bytes(), name, export.expected.do_lower_case)
            if vocabulary.fingerprint != export.expected.fingerprint:
                raise CheckError(f"huggingface/{name}: is not the vocabulary of training")
            return vocabulary
    raise CheckError("huggingface: has no vocabulary (spiece.model or vocab.txt)")


def _their_tokenizer(export: Export, vocabulary: Vocabulary) -> tuple[Callable[[Sequence[str]], list[list[int]]], str]:
    folder = export.huggingface
    if importlib.util.find_spec("transformers") is not None:
        import transformers

        loaded = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return lambda lines: loaded(list(lines), add_special_tokens=False, verbose=False)["input_ids"], "transformers"
    if vocabulary.kind == "wordpiece":
        raise CannotRunError("the vocabulary is training's; transformers, which would read it, is not installed here")
    import tokenizers

    read = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda lines: [row.ids for row in read.encode_batch(list(lines), add_special_tokens=False)], "tokenizers"


def _beyond_tokenizer_json(vocabulary: Vocabulary) -> list[str]:
    """Golden sentences that `tokenizer.json` may cut otherwise: see `huggingface_tokenizer`."""
    if vocabulary.kind == "wordpiece":
        return []
    inner = any(is_split_again(piece) and not piece.startswith(WORD_MARK) for piece in vocabulary.pieces)
    return [sentence for sentence in GOLDEN if inner and NUMBER_WITH_COMMA.search(sentence)]


# === Use ===


def check_fine_tuning(export: Export) -> str:
    """`hub.KerasLayer(folder, trainable=True)` in a Keras model, as tensorflow/albert_en_base is used."""
    import tensorflow_hub as hub

    config = export.expected.config
    wanted = sum(row.role in _ENCODER for row in parameters(config))
    layer = hub.KerasLayer(str(export.folder / package.SAVED_MODEL), trainable=True)
    for call in ("list", "dict"):
        unchanged = _unchanged_by_a_step(layer, call, export.expected.cases["padded"])
        if len(layer.trainable_weights) != wanted:
            count = len(layer.trainable_weights)
            raise CheckError(f"saved_model: hub.KerasLayer shows {count} trainable variables, should be {wanted}")
        # The keys' bias has a gradient of rounding errors alone, as softmax takes it out.
        if len(unchanged) > config.num_hidden_groups * config.inner_group_num:
            raise CheckError(f"saved_model: a gradient step ({call} call) does not change {few(unchanged)}")
    return f"hub.KerasLayer: a gradient step changes its {wanted} variables, with the list call and the dict call"


def _unchanged_by_a_step(layer: Any, call: str, batch: Mapping[str, np.ndarray]) -> list[str]:
    """Trains a classifier for a step, and names the layer's variables that stayed as they were."""
    import tf_keras  # type: ignore[import-untyped]

    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in ENCODER_INPUTS}
    pooled = layer(inputs)["pooled_output"] if call == "dict" else layer(list(inputs.values()))[0]
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2)(pooled))
    # Adam moves what has a gradient at all by the learning rate, however small the gradient. Eagerly: for one step a
    # graph would take longer to make than to run.
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-3), loss, run_eagerly=True)
    before = [variable.numpy() for variable in layer.trainable_weights]
    feeds = {name: tf.constant(batch[name]) for name in ENCODER_INPUTS}
    model.train_on_batch(feeds, np.arange(len(batch["input_mask"])) % 2)
    after = zip(before, layer.trainable_weights, strict=True)
    return [variable.name for old, variable in after if np.array_equal(old, variable.numpy())]


def check_model_server(export: Export, start_seconds: float = 120.0, call_seconds: float = 60.0) -> str:
    """`tensorflow_model_server` serves the SavedModel, and gives over REST and gRPC what the model computes."""
    program = model_server.program()
    if program is None:
        raise CannotRunError(f"{model_server.PROGRAM} is not on PATH here")
    inputs = {
        case: {name: array for name, array in named.items() if name in ENCODER_INPUTS}
        for case, named in export.expected.cases.items()
    }
    folder = export.folder / package.SAVED_MODEL
    with model_server.serving(program, folder, start_seconds, call_seconds) as server:
        for way, ask in (("REST", server.ask_rest), ("gRPC", server.ask_grpc)):
            said = export.must_agree(
                f"{model_server.PROGRAM} ({way})", {c: ask(i) for c, i in inputs.items()}, keep=False
            )
    return f"serves over REST and gRPC: {said}"


# === All of them ===

CHECKS: Mapping[str, Callable[[Export], str]] = {
    "config": check_config,
    "weights": check_weights,
    "signatures": check_signatures,
    "saved_model": check_saved_model,
    keras_h5.ENCODER_FILE: check_encoder_h5,
    keras_h5.FULL_FILE: check_full_h5,
    "huggingface": check_huggingface,
    "huggingface keys": check_huggingface_keys,
    "agreement": check_agreement,
    "vocabulary": check_vocabulary,
    "saved_model vocabulary": check_saved_model_vocabulary,
    "huggingface vocabulary": check_huggingface_vocabulary,
    "fine-tuning": check_fine_tuning,
    "model server": check_model_server,
}


def run_check(name: str, export: Export) -> Check:
    """Runs one of `CHECKS`. What goes wrong in it is its result."""
    started = time.monotonic()
    passed: bool | None
    try:
        passed, said = True, CHECKS[name](export)
    except CannotRunError as reason:
        passed, said = None, str(reason)
    except (CheckError, InputError, model_server.ServerError) as problem:
        passed, said = False, str(problem)
    except Exception as error:  # other software's, of any kind
        first = (str(error).strip() or "without a message").splitlines()[0]
        passed, said = False, f"{type(error).__name__}: {first[:500]}"
    return Check(name, passed, said.replace(f"{export.folder}/", ""), round(time.monotonic() - started, 2))


def _short(path: Path) -> str:
    return "/".join(path.parts[-2:])


def main(folder: str, expected: str, results: str) -> None:
    """Checks a package; see the module."""
    export = Export(Path(folder), Expected.read(expected))
    done: list[Check] = []
    for name in CHECKS:
        _write_results(Path(results), done, name)
        done.append(run_check(name, export))
    _write_results(Path(results), done, None)


def _write_results(path: Path, done: Sequence[Check], running: str | None) -> None:
    """What is known, and what is being done; whole at any time."""
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps({"checks": [asdict(check) for check in done], "running": running}))
    os.replace(aside, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
