"""What a kernel costs, counted while it runs: warp instructions, memory sectors, bank conflicts.

Counts of PTX, before ptxas: they say how much work is issued and moved, not how long it takes.
"""

from dataclasses import dataclass, field

import numpy as np

WARP, SECTOR, BANKS = 32, 32, 32


@dataclass
class Counts:
    """Totals over all warps of a launch.

    Attributes:
        instructions: Issued by warps, control flow included.
        fma: Of these, multiply-adds.
        sectors: 32-byte sectors that warps asked global memory for.
        wavefronts: Passes that shared memory took, conflicts included.
        requests: Accesses to shared memory by warps: as many wavefronts as there would be without conflicts and wide words.
        touched: Distinct sectors of global memory, read and written ones apart: what must at least be moved.
    """

    instructions: int = 0
    fma: int = 0
    sectors: int = 0
    wavefronts: int = 0
    requests: int = 0
    touched: dict[bool, set[int]] = field(default_factory=lambda: {False: set(), True: set()})

    @property
    def bytes_moved(self) -> int:
        """Lower bound of what passes between the chip and its memory."""
        return SECTOR * sum(map(len, self.touched.values()))

    def issue(self, op: str, warps: np.ndarray) -> None:
        """One instruction of these lanes' warps."""
        issued = np.unique(warps).size
        self.instructions += issued
        self.fma += issued if op == "fma" else 0

    def global_access(self, warps: np.ndarray, addresses: np.ndarray, store: bool) -> None:
        """Lanes touch the bytes `addresses` [lanes, size]."""
        sectors = np.unique(np.stack([np.repeat(warps, addresses.shape[1]), (addresses // SECTOR).ravel()]), axis=1)
        self.sectors += sectors.shape[1]
        self.touched[store].update(np.unique(sectors[1]).tolist())

    def shared_access(self, warps: np.ndarray, addresses: np.ndarray) -> None:
        """Per warp: as many passes as the busiest bank has distinct words."""
        words = np.unique(np.stack([np.repeat(warps, addresses.shape[1]), (addresses // 4).ravel()]), axis=1)
        pairs, busy = np.unique(words[0] * BANKS + words[1] % BANKS, return_counts=True)
        active, index = np.unique(pairs // BANKS, return_inverse=True)
        passes = np.zeros(active.size, int)
        np.maximum.at(passes, index, busy)
        self.requests += active.size
        self.wavefronts += int(passes.sum())
