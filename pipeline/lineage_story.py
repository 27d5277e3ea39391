"""The lineage of a pushed version as people read it: a tree, a diagram, a page, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import rich.text
import rich.tree
from ml_metadata.proto import metadata_store_pb2 as mlmd

from albert_model.settings import dotted
from pipeline.lineage import Lineage, NodeRun, Upstream, properties_of, when

# What leads to other models' own lineages; those are listed, newest first, in place of being unfolded here.
_OTHER_MODELS = frozenset({"blessed_model", "baseline_model", "baseline"})
# Told first; other inputs follow by name.
_FIRST = ("model", "examples", "documents", "tokenizer", "base_model", "initial_model", "converted_model")
_FACTS = ("span", "source", "documents", "examples", "vocab_size", "fingerprint", "pushed_version", "blessed")
_LONGEST_VALUE = 200


@dataclass(frozen=True)
class Earlier:
    """A model that training started from, directly or by others.

    Attributes:
      version: under which it was pushed; None if it was not, or is not known.
      span: of its documents.
    """

    version: str | None
    model: mlmd.Artifact
    span: int | None


@dataclass(frozen=True)
class Made:
    """An artifact and what it was made from.

    Attributes:
      channel: of the node that it is an input of; "" for the version itself.
      maker: the node that made it; None if it came from elsewhere.
      inputs: in the order in which they are told. Empty where `is_repeated`.
      is_repeated: it was told of before.
      is_other_model: a model of its own lineage, that is not unfolded.
    """

    channel: str
    artifact: mlmd.Artifact
    maker: NodeRun | None
    inputs: tuple[Made, ...]
    is_repeated: bool = False
    is_other_model: bool = False

    @property
    def title(self) -> str:
        return f"{self.artifact.type} {self.artifact.id}"

    @property
    def facts(self) -> dict[str, Any]:
        return properties_of(self.artifact)

    @property
    def files(self) -> dict[str, Any]:
        """Of documents: the files that they were read from."""
        properties = self.maker.properties if self.maker else {}
        splits = properties.get("input_config", {}).get("splits", []) if "input_base" in properties else []
        if not splits:
            return {}
        patterns = ", ".join(f"{properties['input_base']}/{split.get('pattern', '')}" for split in splits)
        files = {"files": patterns, "fingerprint of files": properties.get("input_fingerprint", "not recorded")}
        code = dict(dotted(properties)).get("custom_config.custom_config.value.code_version")
        return files | ({"code version": code} if code else {})

    @property
    def tfx_version(self) -> str:
        return self.artifact.custom_properties["tfx_version"].string_value or "not recorded"


@dataclass(frozen=True)
class Story:
    """The lineage of a version.

    Attributes:
      earlier: the models that training started from, newest first.
      origin: what the first of all these trainings started from.
    """

    version: str
    made: Made
    earlier: tuple[Earlier, ...]
    origin: str
    upstream: Upstream


def story(lineage: Lineage, version: str) -> Story:
    """The lineage of a pushed version.

    Raises:
      InputError: it was never pushed.
    """
    pushed = lineage.pushed_version(version)
    upstream = lineage.upstream(pushed)
    earlier, origin = _earlier(upstream, lineage.pushed_versions())
    number = pushed.custom_properties["pushed_version"].string_value
    return Story(number, _made("", pushed, upstream, set()), tuple(earlier), origin, upstream)


def _made(channel: str, artifact: mlmd.Artifact, upstream: Upstream, told: set[int]) -> Made:
    maker = upstream.maker(artifact)
    if channel in _OTHER_MODELS:
        return Made(channel, artifact, maker, (), is_other_model=True)
    if artifact.id in told:
        return Made(channel, artifact, maker, (), is_repeated=True)
    told.add(artifact.id)
    inputs = sorted(maker.inputs.items(), key=lambda item: _place(item[0])) if maker else []
    return Made(channel, artifact, maker, tuple(_made(name, found, upstream, told) for name, found in inputs))


def _place(channel: str) -> tuple[int, str]:
    return (_FIRST.index(channel) if channel in _FIRST else len(_FIRST), channel)


def _earlier(upstream: Upstream, versions: dict[int, str]) -> tuple[list[Earlier], str]:
    """Follows the models that training started from."""
    found: list[Earlier] = []
    model = _input(upstream.maker(upstream.artifact), "model")
    while model:
        start = _input(upstream.maker(model), "base_model")
        initial = upstream.maker(start) if start else None
        before = _input(initial, "blessed_model")
        if before is None:
            return found, _origin(initial, start, upstream)
        found.append(Earlier(versions.get(before.id), before, _span(before, upstream)))
        model = before
    return found, "not recorded"


def _input(node: NodeRun | None, channel: str) -> mlmd.Artifact | None:
    return node.inputs.get(channel) if node else None


def _origin(initial: NodeRun | None, start: mlmd.Artifact | None, upstream: Upstream) -> str:
    converted = _input(initial, "converted_model")
    if converted:
        maker = upstream.maker(converted)
        source = (maker.properties if maker else {}).get("source") or properties_of(converted).get("source")
        return f"weights converted from {source or 'a source that is not recorded'}"
    return f"{properties_of(start).get('source', 'unknown')} weights" if start else "not recorded"


def _span(model: mlmd.Artifact, upstream: Upstream) -> int | None:
    examples = _input(upstream.maker(model), "examples")
    documents = _input(upstream.maker(examples), "documents") if examples else None
    return (documents.custom_properties["span"].int_value or None) if documents else None


# === Tree ===


def printable(text: object) -> str:
    """Text of others without what a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def tree(told: Story, with_settings: bool) -> rich.tree.Tree:
    """For a terminal."""
    root = rich.tree.Tree(rich.text.Text(f"version {printable(told.version)}", style="bold"))
    _grow(root, told.made, with_settings)
    root.add(rich.text.Text(f"TFX {printable(told.made.tfx_version)}; settings: --settings, or --format json"))
    before = root.add(rich.text.Text("training started from", style="bold"))
    for line in earlier_lines(told):
        before.add(rich.text.Text(printable(line)))
    return root


def earlier_lines(told: Story) -> Iterator[str]:
    for model in told.earlier:
        name = f"version {model.version}" if model.version else "a model that was not pushed"
        yield f"{name} (Model {model.model.id}{f', span {model.span}' if model.span else ''}) {model.model.uri}"
    yield told.origin if not told.earlier else f"{told.origin}, the first of them"


def _grow(branch: rich.tree.Tree, made: Made, with_settings: bool) -> None:
    head = rich.text.Text()
    if made.channel:
        head.append(f"{printable(made.channel)}: ", style="dim")
    head.append(printable(made.title), style="bold")
    head.append(f"  {_short(made)}", style="dim")
    twig = branch.add(head)
    if made.is_other_model:
        return
    twig.add(rich.text.Text(printable(made.artifact.uri), style="cyan"))
    for name, value in _lines(made, with_settings):
        twig.add(rich.text.Text(f"{printable(name)}: {printable(value)}", style="dim"))
    for found in made.inputs:
        if not found.is_repeated:
            _grow(twig, found, with_settings)
    if repeated := [f"{found.channel} {found.artifact.id}" for found in made.inputs if found.is_repeated]:
        twig.add(rich.text.Text(f"and {printable(', '.join(repeated))} (see above)", style="dim"))


def _short(made: Made) -> str:
    if made.is_other_model:
        return printable(made.artifact.uri)
    if made.maker is None:
        return "came from elsewhere"
    return f"by {printable(made.maker.name)}, {made.maker.ended:%Y-%m-%d %H:%M} UTC, {made.maker.seconds:.1f} s"


def _lines(made: Made, with_settings: bool) -> Iterator[tuple[str, Any]]:
    yield from ((name, made.facts[name]) for name in _FACTS if _says(name, made.facts.get(name)))
    yield from made.files.items()
    if with_settings and made.maker:
        for name, value in dotted(made.maker.properties):
            yield name, value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"


def _says(name: str, value: Any) -> bool:
    return value not in (None, "") and not (
        name == "span" and value == 0
    )  # statistics have a span that TFX leaves at 0


# === Other formats ===


def mermaid(told: Story) -> str:
    """A flowchart, from inputs to the version."""
    lines = ["graph TD"]
    edges: dict[str, None] = {}
    for made in _all(told.made):
        lines.append(f'    a{made.artifact.id}["{_quoted(made.title)}"]')
        if made.files:
            lines.append(f'    f{made.artifact.id}(["{_quoted(made.files["files"])}"])')
            edges[f"    f{made.artifact.id} --> a{made.artifact.id}"] = None
        for found in made.inputs:
            maker = _quoted(made.maker.name) if made.maker else ""
            edges[f'    a{found.artifact.id} -->|"{maker}"| a{made.artifact.id}'] = None
            if found.is_other_model:
                lines.append(f'    a{found.artifact.id}["{_quoted(found.title)} (before)"]')
    return "\n".join([*lines, *edges])


def _quoted(text: str) -> str:
    """Mermaid reads entities, and little else literally."""
    return "".join(c if c.isalnum() or c in " ._-/:" else f"#{ord(c)};" for c in printable(text))


def _all(made: Made) -> Iterator[Made]:
    """Each artifact once."""
    if not (made.is_repeated or made.is_other_model):
        yield made
        for found in made.inputs:
            yield from _all(found)


def as_json(told: Story) -> str:
    """All that is recorded: artifacts, the nodes that made them with their settings, and the models before."""
    content = {
        "version": told.version,
        "artifacts": [_artifact(made) for made in _all(told.made)],
        "nodes": [_node(node) for node in _makers(told)],
        "started_from": [
            {"version": model.version, "model_id": model.model.id, "uri": model.model.uri, "span": model.span}
            for model in told.earlier
        ],
        "origin": told.origin,
    }
    return json.dumps(content, indent=2)


def _artifact(made: Made) -> dict[str, Any]:
    return {
        "id": made.artifact.id,
        "type": made.artifact.type,
        "uri": made.artifact.uri,
        "created": when(made.artifact.create_time_since_epoch).isoformat(),
        "made_by": made.maker.id if made.maker else None,
        "tfx_version": made.tfx_version,
        "properties": made.facts,
        **({"read_from": made.files} if made.files else {}),
    }


def _makers(told: Story) -> list[NodeRun]:
    makers = {made.maker.id: made.maker for made in _all(told.made) if made.maker}
    return [makers[key] for key in sorted(makers)]


def _node(node: NodeRun) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "state": node.state,
        "ended": node.ended.isoformat(),
        "seconds": node.seconds,
        "settings": node.properties,
        "inputs": {name: artifact.id for name, artifact in node.inputs.items()},
        "outputs": {name: artifact.id for name, artifact in node.outputs.items()},
    }


def page(told: Story) -> str:
    """One HTML file that needs nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals |= {"dotted": dotted, "earlier_lines": earlier_lines}
    return environment.get_template("lineage.html.jinja").render(told=told)
