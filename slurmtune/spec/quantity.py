"""Times, sizes and shares as people and sbatch write them, turned into numbers.

Every function raises `ValueError` for what it does not understand.
"""

from __future__ import annotations

import re

_HUMAN = re.compile(
    r"(?:(\d+(?:\.\d+)?) ?([smhd]))(?: ?(?:(\d+) ?([smhd])))?(?: ?(?:(\d+) ?([smhd])))?"
)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SLURM_TIME = re.compile(
    r"(?:(?P<days>\d{1,6})-(?P<dh>\d{1,4})(?::(?P<dm>\d{1,4})(?::(?P<ds>\d{1,4}))?)?"
    r"|(?P<h>\d{1,6}):(?P<hm>\d{1,4}):(?P<hs>\d{1,4})"
    r"|(?P<m>\d{1,8})(?::(?P<ms>\d{1,4}))?)",
    re.ASCII,
)
_MEMORY = re.compile(r"(\d{1,12})([KMGT]?)B?", re.ASCII)
_MEGABYTES = {"K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024.0}
_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%", re.ASCII)
_GPUS = re.compile(r"(?:[A-Za-z0-9_.-]+:)?(\d{1,4})", re.ASCII)
_GRES_GPU = re.compile(r"(?:gres/)?gpu(?::[A-Za-z_][A-Za-z0-9_.-]*)?(?:[:=](\d{1,4}))?", re.ASCII)
_HUMAN_WORDS = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", re.ASCII)
_HUMAN_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([kKmMgGtT])i?[bB]?", re.ASCII)


def slurm_time_seconds(text: str) -> int:
    """Return the seconds of a time in sbatch's forms: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    found = _SLURM_TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not a Slurm time")
    parts = {name: int(value) for name, value in found.groupdict().items() if value is not None}
    days = parts.get("days", 0)
    hours = parts.get("dh", parts.get("h", 0))
    minutes = parts.get("dm", parts.get("hm", parts.get("m", 0)))
    seconds = parts.get("ds", parts.get("hs", parts.get("ms", 0)))
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise ValueError(f"'{text}' is no time at all")
    return total


def slurm_time_text(seconds: int) -> str:
    """Return seconds in sbatch's form, ``HH:MM:SS`` or ``D-HH:MM:SS``."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{days}-{clock}" if days else clock


def guess_slurm_time(text: str) -> str | None:
    """Return the sbatch form of a time as people write it, such as ``4 hours``, or None."""
    found = _HUMAN_WORDS.fullmatch(text.strip())
    if found is not None:
        unit = found.group(2).lower()
        for name in ("seconds", "minutes", "hours", "days"):
            if name.startswith(unit) or unit in {"secs", "mins", "hrs", "sec", "min", "hr"}:
                factor = _UNIT_SECONDS[unit[0] if unit[0] in _UNIT_SECONDS else "h"]
                return slurm_time_text(round(float(found.group(1)) * factor))
    try:
        return slurm_time_text(round(duration_seconds(text)))
    except ValueError:
        return None


def duration_seconds(text: str) -> float:
    """Return the seconds of ``60s``, ``1h 30m`` or of a time in sbatch's form with a colon."""
    found = _HUMAN.fullmatch(text.strip())
    if found is not None:
        groups = found.groups()
        pairs = zip(groups[::2], groups[1::2], strict=True)
        return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in pairs if number)
    if ":" in text or "-" in text:
        return slurm_time_seconds(text)
    raise ValueError(f"'{text}' is not a duration")


def memory_megabytes(text: str) -> float:
    """Return the megabytes of a size in sbatch's form: ``4000``, ``32G``, ``0`` for all."""
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not a Slurm memory size")
    return int(found.group(1)) * _MEGABYTES[found.group(2)]


def guess_memory(text: str) -> str | None:
    """Return the sbatch form of a size as people write it, such as ``32 GB``, or None."""
    found = _HUMAN_MEMORY.fullmatch(text.strip())
    if found is None:
        return None
    number, unit = float(found.group(1)), found.group(2).upper()
    if number.is_integer():
        return f"{int(number)}{unit}"
    smaller = {"T": "G", "G": "M", "M": "K"}.get(unit)
    return f"{round(number * 1024)}{smaller}" if smaller else None


def share(text: str) -> float:
    """Return the part of one in ``20%``."""
    found = _SHARE.fullmatch(text)
    if found is None or float(found.group(1)) > 100:
        raise ValueError(f"'{text}' is not a percentage")
    return float(found.group(1)) / 100


def gpu_count(text: str) -> int:
    """Return the number in ``2`` or ``a100:2``."""
    found = _GPUS.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not a number of GPUs")
    return int(found.group(1))


def gres_gpu_count(text: str) -> int:
    """Return the number of GPUs in a ``gres`` text such as ``gpu:a100:2,tmp:10G``."""
    found = [_GRES_GPU.fullmatch(part) for part in text.split(",")]
    return sum(int(match.group(1) or 1) for match in found if match)
