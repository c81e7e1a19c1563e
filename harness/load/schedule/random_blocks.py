"""Random numbers addressed by seed, purpose and index, so that every process computes the same schedule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_SIZE = 4096

GAPS, JOURNEYS = 0, 1  # purposes; each has its own sequence


class RandomBlocks:
    """Random numbers in [0, 1) of one seed and purpose, in blocks of BLOCK_SIZE.

    Philox is counter-based: any process can compute any block directly. Its raw words are the same in every version
    of numpy.
    """

    def __init__(self, seed: int, purpose: int) -> None:
        self._key = np.array([seed, purpose], dtype=np.uint64)

    def block(self, number: int) -> NDArray[np.float64]:
        """The numbers with index `number` · BLOCK_SIZE and the following."""
        counter = np.array([0, number, 0, 0], dtype=np.uint64)
        words = np.random.Philox(key=self._key, counter=counter).random_raw(BLOCK_SIZE)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
