"""The list of all settings, made from the models that validate them."""

from __future__ import annotations

import typing

import pydantic
import pydantic.fields


def reference(model: type[pydantic.BaseModel], section: str = "") -> str:
    """A Markdown table of the keys of a settings model, and one for each of its sections."""
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    sections = []
    for name, field in model.model_fields.items():
        key = f"{section}{name}"
        if _is_section(field) and not field.description:
            sections.append(f"\n### {key}\n\n{_summary(field.annotation)}\n\n{reference(field.annotation, f'{key}.')}")
        else:
            rows.append(f"| `{key}` | {_type(field)} | {_default(field)} | {field.description or ''} |")
    return "\n".join([*rows, *sections]) + ("" if section else "\n")


def _is_section(field: pydantic.fields.FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel)


def _summary(model: typing.Any) -> str:
    return (model.__doc__ or "").splitlines()[0]


def _type(field: pydantic.fields.FieldInfo) -> str:
    if _is_section(field):
        return "path"
    text = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    return text.replace("typing.", "").replace("Literal", "").replace("|", "or").replace("NoneType", "None")


def _default(field: pydantic.fields.FieldInfo) -> str:
    return "required" if field.is_required() else f"`{field.default}`"
