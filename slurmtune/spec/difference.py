"""The effective spec as plain data, and what may change in a study that exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slurmtune.spec.model import FidelityTable, SearchTable, Spec
from slurmtune.spec.rungs import BRACKETED, FIXED_TRIALS
from slurmtune.spec.secret import hidden, is_secret, without_secrets

# Whole tables, and single keys, that decide neither what is tried nor how it is judged.
# [run] too: a study that was paused by a wrong command must be able to go on with the right one.
_FREE_TABLES = ("run", "env", "slurm", "retry", "stop", "report", "checkpoint")
_FREE_KEYS = (
    "study.description",
    "study.tags",
    "study.group",
    "search.parallel",
    "fidelity.unit_time",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between two effective specs."""

    path: str
    """Dotted; hyperparameters, constraints and such as ``space.lr``."""
    old: Any
    """None when it was not there."""
    new: Any
    allowed: bool
    """Whether a study that exists takes it over."""


def effective(spec: Spec) -> dict[str, Any]:
    """Return the spec with all defaults as JSON-able data, times in seconds.

    The space is a list: the order of hyperparameters belongs to the study. Secrets are digests.
    """
    data: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude={"space"})
    data["env"]["vars"] = {
        name: hidden(value) if is_secret(name) else value for name, value in spec.env.vars.items()
    }
    data["env"]["setup"] = [without_secrets(line) for line in spec.env.setup]
    data["space"] = [
        {
            "name": parameter.name,
            "distribution": parameter.distribution,
            "arguments": _plain(parameter.arguments),
            "default": parameter.default,
            "when": _plain(parameter.when),
            "type": parameter.type,
            "clip": _plain(parameter.clip),
            "ordered": parameter.ordered,
            "prior": _plain(parameter.prior),
        }
        for parameter in spec.space.values()
    ]
    return data


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two effective specs, and what an existing study takes over.

    More trials are taken over, fewer are not: some of them may have been started. Where the plan
    rests on their number (`FIXED_TRIALS`), it stays.
    """
    search = new.get("search")
    fixed = isinstance(search, Mapping) and search.get("scheduler") in FIXED_TRIALS
    return [
        Change(
            path=path,
            old=before,
            new=after,
            allowed=_is_allowed(path, before, after) and not (fixed and path == "search.trials"),
        )
        for path, before, after in _differences(_by_name(old), _by_name(new), "")
    ]


def code_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return whether the file of the user's own scheduler changed, from two core settings.

    Another file or class is a change of ``search.scheduler``, and told as that.
    """
    before, after = old.get("code"), new.get("code")
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return []
    if before["sha256"] == after["sha256"]:
        return []
    shown = [f"{code['file']} (sha256 {code['sha256'][:12]})" for code in (before, after)]
    return [Change(path="search.scheduler", old=shown[0], new=shown[1], allowed=False)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _by_name(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec with hyperparameters and constraints by name, so that each is one change.

    Keys that a spec of an earlier slurmtune does not have are at their defaults.
    """
    data = dict(spec)
    for table, defaults in (("search", SearchTable()), ("fidelity", FidelityTable(max=1))):
        given = spec.get(table)
        if isinstance(given, Mapping):
            data[table] = {**defaults.model_dump(mode="json"), **given}
    _tell_one_bracket_once(data)
    for table in ("space", "constraints"):
        data[table] = {item["name"]: item for item in spec.get(table) or ()}
    data["order of space"] = [item["name"] for item in spec.get("space") or ()]
    return data


def _tell_one_bracket_once(data: dict[str, Any]) -> None:
    """Write one bracket as the default where it is: earlier specs say 1, and this one None."""
    search, fidelity = data.get("search"), data.get("fidelity")
    if not (isinstance(search, Mapping) and isinstance(fidelity, Mapping)):
        return
    if fidelity.get("brackets") == 1 and search.get("scheduler") not in BRACKETED:
        data["fidelity"] = {**fidelity, "brackets": None}


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        path = f"{prefix}{key}"
        if key == "order of space":
            if before != after and sorted(before or ()) == sorted(after or ()):
                yield "space", before, after
        elif _same(before, after):
            continue
        elif isinstance(before, Mapping) and isinstance(after, Mapping) and path.count(".") < 1:
            yield from _differences(before, after, f"{path}.")
        else:
            yield path, before, after


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _is_allowed(path: str, old: Any, new: Any) -> bool:
    table = path.partition(".")[0]
    if path == "search.trials":
        return new is None or (old is not None and new > old)
    return table in _FREE_TABLES or path in _FREE_KEYS
