"""Hugging Face folders: `config.json`, `model.safetensors`, tokenizer files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from albert_model.config import AlbertConfig, read_json
from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import huggingface_tokenizer
from albert_model.weights.names import HEADS, Parameter, Role, Run, Weights, is_bert_in_huggingface, parameters, roles
from albert_model.weights.tensors import Stored, match, renamed

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLE = "pytorch_model.bin"
_PREFIXES = ("albert.", "bert.")
# Constants that old versions saved.
_BUFFERS = re.compile(r"embeddings\.(position_ids|token_type_ids)$")
# Copies of other tensors: what ties them is the model's code.
_TIED = {
    "predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_OLD_NORM = re.compile(r"LayerNorm\.(gamma|beta)$")
_OLD_NORM_PARTS = {"gamma": "weight", "beta": "bias"}

# Google's "gelu" is the tanh form; Hugging Face's "gelu" is the erf form.
_ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu", "relu": "relu"}
_ACTIVATIONS_READ = {name: ours for ours, name in _ACTIVATIONS.items()} | {"gelu_pytorch_tanh": "gelu"}
_SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("initializer_range",),
)
_ALBERT_SIZES = ("embedding_size", "num_hidden_groups", "inner_group_num")
# What the network computes, where other values would ask for another network.
_FIXED = {"layer_norm_eps": 1e-12, "position_embedding_type": "absolute", "is_decoder": False}


# === Config ===


def read_config(folder: str | Path, hidden_act: str | None = None) -> AlbertConfig:
    """The config of a folder.

    Args:
      folder: Hugging Face folder.
      hidden_act: goes before the file's, in this project's words ("gelu": tanh, "gelu_erf").

    Raises:
      InputError: not an ALBERT or BERT, or something that this network does not compute.
    """
    path = Path(folder) / CONFIG
    values = read_json(path)
    kind = values.get("model_type")
    if kind not in ("albert", "bert"):
        raise InputError(f"{path}: model_type is {kind!r}; albert and bert can be read.")
    for key, expected in _FIXED.items():
        if values.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {values[key]!r}; only {expected!r} can be read.")
    sizes = {key: values[key] for key in (*_SIZES, *_ALBERT_SIZES) if key in values}
    said = values.get("hidden_act", "gelu_new" if kind == "albert" else "gelu")
    if hidden_act is None and said not in _ACTIVATIONS_READ:
        raise InputError(f"{path}: hidden_act is {said!r}; {', '.join(_ACTIVATIONS_READ)} can be read.")
    activation = hidden_act or _ACTIVATIONS_READ[said]
    return AlbertConfig.from_values(sizes | {"architecture": kind, "hidden_act": activation}, str(path))


def config_values(config: AlbertConfig, with_heads: bool) -> dict[str, Any]:
    """The `config.json` of a model."""
    bert = is_bert_in_huggingface(config)
    name = "Bert" if bert else "Albert"
    values = {
        "architectures": [f"{name}{'ForPreTraining' if with_heads else 'Model'}"],
        "model_type": name.lower(),
        "hidden_act": _ACTIVATIONS[config.hidden_act],
        "classifier_dropout" if bert else "classifier_dropout_prob": 0.1,  # of Google's fine-tuning code
        "layer_norm_eps": 1e-12,
        "dtype": "float32",
    }
    kept = _SIZES if bert else (*_SIZES, *_ALBERT_SIZES)
    return values | {key: getattr(config, key) for key in kept}


def _special_ids(vocabulary: Vocabulary | None) -> dict[str, int | None]:
    """Ids that transformers would else take from the released English ALBERTs."""
    pieces = vocabulary.pieces if vocabulary else ()
    if vocabulary and vocabulary.kind == "sentencepiece":
        return {"pad_token_id": 0, "bos_token_id": pieces.index("[CLS]"), "eos_token_id": pieces.index("[SEP]")}
    return {
        "pad_token_id": pieces.index("[PAD]") if "[PAD]" in pieces else 0,
        "bos_token_id": None,
        "eos_token_id": None,
    }


# === Weights ===


def read_weights(folder: str | Path, config: AlbertConfig) -> tuple[Weights, tuple[str, ...]]:
    """The weights of a folder, and the names of tensors left out.

    Raises:
      InputError: a file is missing or damaged, the weights do not fit the config, or there are only pickled ones and
        no torch to read them without running what they hold.
    """
    stored = renamed(_open_stored(Path(folder)), _plain)
    ignore = re.compile("|".join([_BUFFERS.pattern, *(f"^{re.escape(name)}$" for name in _TIED)]))
    _check_tied(stored)
    if not is_bert_in_huggingface(config) and not config.projects_embedding:
        stored = _without_identity(stored)
    return match(stored, config, lambda row: row.huggingface, ignore)


def _open_stored(folder: Path) -> Stored:
    if (folder / WEIGHTS).is_file():
        return _safetensors([folder / WEIGHTS], str(folder / WEIGHTS))
    if (folder / _INDEX).is_file():
        names = sorted(set(read_json(folder / _INDEX).get("weight_map", {}).values()))
        if any(Path(name).name != name for name in names):
            raise InputError(f"{folder / _INDEX}: names files outside of its folder.")
        return _safetensors([folder / name for name in names], str(folder / _INDEX))
    if (folder / _PICKLE).is_file():
        return _pickle(folder / _PICKLE)
    raise InputError(f"{folder}: has a {CONFIG}, but neither {WEIGHTS} nor {_PICKLE}.")


def _safetensors(paths: list[Path], source: str) -> Stored:
    place: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                place[name], shapes[name] = path, tuple(file.get_slice(name).get_shape())

    def read(name: str) -> np.ndarray:
        with _opened(place[name]) as file:
            return file.get_tensor(name)

    return Stored(source, shapes, read)


def _opened(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="numpy")
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error}). It is missing, truncated or damaged.") from error


def _pickle(path: Path) -> Stored:
    """A pickled file, through torch's loader that makes tensors and runs nothing else."""
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: reading it needs torch (pip install 'albert-pipeline[interop]'). A model.safetensors needs "
            "nothing more."
        ) from error
    try:
        mapped = zipfile.is_zipfile(path)  # what torch wrote before version 1.6 is no archive
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds for files that are damaged or hold more than tensors
        raise InputError(
            f"{path}: is damaged, or holds more than tensors, which is not loaded as it could run code "
            f"({(str(error) or type(error).__name__).splitlines()[0]})."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise InputError(f"{path}: does not hold a dict of tensors.")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Stored(str(path), shapes, lambda name: tensors[name].detach().to(torch.float32).numpy())


def _plain(name: str) -> str:
    """Without the prefix of the encoder, and with today's names of the norms."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return _OLD_NORM.sub(lambda found: f"LayerNorm.{_OLD_NORM_PARTS[found[1]]}", name)


def _check_tied(stored: Stored) -> None:
    for copy, original in _TIED.items():
        if (
            copy in stored.shapes
            and original in stored.shapes
            and (
                stored.shapes[copy] != stored.shapes[original]
                or not np.array_equal(stored.read(copy), stored.read(original))
            )
        ):
            raise InputError(f"{stored.source}: {copy} differs from {original}; this network ties the two.")


# transformers' AlbertModel always projects; where the embedding is as wide as the layers, the identity does nothing.
_PROJECTION = "encoder.embedding_hidden_mapping_in"


def _identity(config: AlbertConfig) -> dict[str, np.ndarray]:
    size = config.hidden_size
    return {f"{_PROJECTION}.weight": np.eye(size, dtype=np.float32), f"{_PROJECTION}.bias": np.zeros(size, np.float32)}


def _without_identity(stored: Stored) -> Stored:
    kernel, bias = f"{_PROJECTION}.weight", f"{_PROJECTION}.bias"
    if {kernel, bias} <= stored.shapes.keys():
        array = stored.read(kernel)
        if not np.array_equal(array, np.eye(len(array))) or stored.read(bias).any():
            raise InputError(
                f"{stored.source}: {kernel} projects an embedding that is as wide as the layers, which Google's "
                "ALBERT does not have."
            )
    shapes = {name: shape for name, shape in stored.shapes.items() if name not in (kernel, bias)}
    return Stored(stored.source, shapes, stored.read)


def write(folder: str | Path, weights: Weights, config: AlbertConfig, vocabulary: Vocabulary | None) -> None:
    """Writes a folder that `AutoModelForPreTraining` loads if there are heads, else `AutoModel`.

    Args:
      folder: is made.
      weights: with both heads, or none.
      config: its sizes.
      vocabulary: for the tokenizer's files.

    Raises:
      InputError: the special pieces of the vocabulary are not where ALBERT has them.
    """
    if vocabulary is not None and vocabulary.kind == "sentencepiece":
        Tokenizer.of(vocabulary, vocabulary.file_name)  # whose special pieces the files below rely on
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with_heads = set(HEADS) <= set(roles(weights, config))
    values = config_values(config, with_heads)
    values |= _special_ids(vocabulary)
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n")
    prefix = f"{values['model_type']}." if with_heads else ""
    tensors: dict[str, _Tensor] = {}
    for row in parameters(config):
        if row.name in weights:
            place = row.huggingface
            name = place.name if row.role in HEADS else prefix + place.name
            tensors[name] = (place.shape_of(row.shape), partial(_put, row, weights))
    if not is_bert_in_huggingface(config) and not config.projects_embedding:
        for name, array in _identity(config).items():
            tensors[prefix + name] = (array.shape, partial(np.asarray, array))
    _write_safetensors(folder / WEIGHTS, tensors)
    if vocabulary is not None:
        huggingface_tokenizer.write(folder, vocabulary, config.max_position_embeddings)


def _put(row: Parameter, weights: Weights) -> np.ndarray:
    return row.huggingface.put(weights[row.name])


_Tensor = tuple[tuple[int, ...], Callable[[], np.ndarray]]


def _write_safetensors(path: Path, tensors: Mapping[str, _Tensor]) -> None:
    """One array after the other, where the library's writer holds two copies of them all.

    Format: https://huggingface.co/docs/safetensors (length of the header, header in JSON, arrays).
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (shape, _) in tensors.items():
        end = offset + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in tensors.values():
            file.write(np.ascontiguousarray(array(), "<f4").data)


# === Run ===


def can_run() -> bool:
    """Whether transformers and torch are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


def runner(folder: str | Path, config: AlbertConfig, parts: Sequence[Role]) -> Run:
    """Loads a folder in transformers; gives what it computes by itself.

    Args:
      folder: Hugging Face folder.
      config: its activation goes before the folder's, which may have been overridden.
      parts: that the folder has; what it has not is left out, as transformers gives it random values.
    """
    import torch
    import transformers

    settings = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
    settings.hidden_act = _ACTIVATIONS[config.hidden_act]
    kind = transformers.AutoModelForPreTraining if "mlm" in parts else transformers.AutoModel
    with _quiet(transformers):
        model = kind.from_pretrained(str(folder), config=settings, local_files_only=True, dtype=torch.float32).eval()
    names = dict(zip(ENCODER_INPUTS, ("input_ids", "attention_mask", "token_type_ids"), strict=True))

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            feeds = {theirs: torch.tensor(inputs[ours]) for ours, theirs in names.items()}
            outputs = model.base_model(**feeds, output_hidden_states=True)
            sequence = outputs.last_hidden_state
            layers = outputs.hidden_states[config.inner_group_num :: config.inner_group_num]
            results = {"sequence_output": sequence, "encoder_outputs": torch.stack(layers)}
            if "pooler" in parts:
                results["pooled_output"] = outputs.pooler_output
            if {"pooler", "sop"} <= set(parts):
                bert = is_bert_in_huggingface(config)
                sop_head = model.cls.seq_relationship if bert else model.sop_classifier
                results["sop_logits"] = sop_head(outputs.pooler_output)
            if "mlm" in parts:
                rows = torch.arange(len(sequence))[:, None]
                head = model.cls.predictions if is_bert_in_huggingface(config) else model.predictions
                results["mlm_logits"] = head(sequence[rows, torch.tensor(inputs[MLM_POSITIONS]).long()])
        return {name: tensor.numpy() for name, tensor in results.items()}

    return run


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without its progress bar, and its report of heads that it makes up and that are not asked for."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
