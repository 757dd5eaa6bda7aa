"""The JSON Schema of a spec, for editors; `check` knows more and is the truth."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from slurmtune.spec import model
from slurmtune.spec.hyperparameter import OPTIONS, SIGNATURES
from slurmtune.spec.model import Spec


def json_schema() -> dict[str, Any]:
    """Return the schema of the TOML file (not of the parsed model: times are text there)."""
    schema = Spec.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    for name in ("HyperparameterSpec", "ConstraintTable", "StartTable"):
        definitions.pop(name, None)
    properties = schema["properties"]
    objective = {"$ref": "#/$defs/ObjectiveTable"}
    properties["space"] = {
        "type": "object",
        "description": "What is searched: one hyperparameter per line.",
        "additionalProperties": _hyperparameter(),
    }
    properties["constraints"] = {
        "type": "object",
        "description": "Rules that every config keeps.",
        "additionalProperties": {"type": "string"},
    }
    start = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    properties["start"] = {"anyOf": [start, {"type": "array", "items": start}]}
    properties["objective"] = {"anyOf": [objective, {"type": "array", "items": objective}]}
    properties["include"] = {"type": "array", "items": {"type": "string"}}
    schema["required"] = ["study", "run", "space", "objective"]
    _tidy(schema)
    _describe(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slurmtune spec",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _describe(definitions: dict[str, Any]) -> None:
    """Put the docstrings of the fields into the schema.

    pydantic could do so itself, but would read the source whenever the models are imported.
    """
    told: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(model)).body:
        if isinstance(node, ast.ClassDef):
            told[node.name] = dict(_docstrings(node))
    for name, definition in definitions.items():
        table = getattr(model, name, None)
        if not (isinstance(table, type) and issubclass(table, BaseModel)):
            continue
        for base in reversed(table.__mro__):
            for field, text in told.get(base.__name__, {}).items():
                key = table.model_fields[field].alias or field
                definition["properties"][key]["description"] = text


def _docstrings(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(text.value.value)


def _hyperparameter() -> dict[str, Any]:
    forms = [
        {"type": "object", "required": [name], "properties": {name: _arguments(name)}}
        for name in SIGNATURES
    ]
    keys: dict[str, Any] = {name: {} for name in (*SIGNATURES, *OPTIONS)}
    keys["when"] = {"type": "object"}
    keys["type"] = {"enum": ["int", "float"]}
    keys["ordered"] = {"type": "boolean"}
    keys["clip"] = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    return {"properties": keys, "additionalProperties": False, "oneOf": forms}


def _arguments(distribution: str) -> dict[str, Any]:
    labels = SIGNATURES[distribution].labels
    if distribution == "bool":
        return {"const": True}
    if distribution == "fixed":
        return {"type": ["string", "number", "boolean"]}
    if not labels:
        return {"type": "array", "minItems": 1}
    least = 2 if distribution == "range" else len(labels)
    return {
        "type": "array",
        "items": {"type": "number"},
        "minItems": least,
        "maxItems": len(labels),
        "description": f"[{', '.join(labels)}]",
    }


def _tidy(schema: Any) -> None:
    """Drop what TOML cannot say (null) and what says nothing (titles, defaults in seconds)."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
        elif isinstance(node, dict):
            if isinstance(node.get("title"), str):
                del node["title"]
            if "default" in node and not isinstance(node["default"], dict):
                if node["default"] is None or node.get("type") == "string":
                    node.pop("default")
            elif "default" in node and "type" not in node["default"]:
                node.pop("default")
            options = node.get("anyOf")
            if isinstance(options, list):
                kept = [option for option in options if option != {"type": "null"}]
                if len(kept) == 1:
                    del node["anyOf"]
                    node.update({k: v for k, v in kept[0].items() if k not in node})
                else:
                    node["anyOf"] = kept
            stack += list(node.values())
