"""The list of all settings, made from the models that validate them."""

from __future__ import annotations

import types
import typing

import pydantic
import pydantic.fields


def reference(model: type[pydantic.BaseModel], section: str = "") -> str:
    """A Markdown table of the keys of a settings model, and one for each of its sections."""
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    sections = []
    for name, field in model.model_fields.items():
        key = f"{section}{name}"
        if (inner := _section(field)) and not field.description:
            sections.append(f"\n### {key}\n\n{_summary(inner)}\n\n{reference(inner, f'{key}.')}")
        else:
            rows.append(f"| `{key}` | {_type(field)} | {_default(field)} | {field.description or ''} |")
    return "\n".join([*rows, *sections])


def _section(field: pydantic.fields.FieldInfo) -> type[pydantic.BaseModel] | None:
    """The settings model that the field is, or may be."""
    kinds = typing.get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)), None)


def _summary(model: type[pydantic.BaseModel]) -> str:
    return (model.__doc__ or "").splitlines()[0]


def _type(field: pydantic.fields.FieldInfo) -> str:
    if _section(field):
        return "path or section"
    return " or ".join(_names(field.annotation))


def _names(annotation: typing.Any) -> list[str]:
    """The types or values that an annotation allows."""
    if typing.get_origin(annotation) is typing.Literal:
        return [f"`{value}`" for value in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [name for part in typing.get_args(annotation) for name in _names(part)]
    if typing.get_origin(annotation) is tuple:
        return ["list of " + typing.get_args(annotation)[0].__name__]
    return ["none" if annotation is type(None) else annotation.__name__]


def _default(field: pydantic.fields.FieldInfo) -> str:
    return "required" if field.is_required() else f"`{field.default}`"
