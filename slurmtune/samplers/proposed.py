"""Which configs were proposed already, kept up to date as the history grows."""

from __future__ import annotations

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView
from slurmtune.space.space import Space


class Proposed:
    """The keys of a history's configs.

    A history that goes on from the one before costs one key for each new config; any other is
    read anew, so the answer depends on nothing but the history that is given.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._configs: list[Config] = []
        self._keys: set[str] = set()

    def keys(self, history: HistoryView) -> set[str]:
        """Return `Space.key` of every config of ``history``; not to be changed by the caller."""
        configs = list(history.configs)
        known = len(self._configs)
        # Compares object by object, and values only where these are not identical.
        if configs[:known] != self._configs:
            known = 0
            self._keys = set()
        self._keys.update(self._space.key(config) for config in configs[known:])
        self._configs = configs
        return self._keys
