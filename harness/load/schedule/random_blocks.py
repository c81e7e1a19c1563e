"""Random numbers addressed by seed, purpose and index, so that every process computes the same schedule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_SIZE = 4096


GAPS, JOURNEYS = 0, 1  # what random numbers are drawn for: each has a sequence of its own


class RandomBlocks:
    """Numbers in [0, 1) by their index, of one seed and purpose, in blocks.

    Philox is addressed by counter: block b begins at a place of its own, whoever asks for it, and its raw
    words are the same in every version of numpy.
    """

    def __init__(self, seed: int, purpose: int) -> None:
        self._key = np.array([seed, purpose], dtype=np.uint64)

    def block(self, number: int) -> NDArray[np.float64]:
        """Numbers `number` · 4096 to that + 4095."""
        counter = np.array([0, number, 0, 0], dtype=np.uint64)
        words = np.random.Philox(key=self._key, counter=counter).random_raw(BLOCK_SIZE)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
