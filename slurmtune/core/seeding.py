"""Random streams derived by purpose and trial, so that a restart never repeats and never skips.

A stream depends on (study seed, purpose, trial number) only: not on how many numbers were drawn
before, on the host, or on PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derived_seed(seed: int, purpose: str, trial: int = 0) -> int:
    """Return a seed of 63 bits for ``purpose`` in trial ``trial``."""
    text = f"{seed}/{purpose}/{trial}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def program_seed(seed: int, trial: int) -> int:
    """Return the seed of a trial's program: 31 bits, the same at every rung."""
    return derived_seed(seed, "program", trial) & 0x7FFF_FFFF


def generator(seed: int, purpose: str, trial: int = 0) -> np.random.Generator:
    """Return numpy's PCG64 generator for ``purpose`` in trial ``trial``."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(derived_seed(seed, purpose, trial)))
