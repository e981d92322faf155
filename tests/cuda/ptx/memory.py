"""Global and shared memory that notice what is out of bounds, misaligned, uninitialised, or raced for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.cuda.ptx.parse import PtxError

GAP = 4096  # unmapped bytes between allocations
NOBODY, SEVERAL = -1, -2


@dataclass
class Access:
    """One load or store of some lanes.

    Attributes:
        address: [lanes], in bytes.
        size: Bytes that each lane moves.
        store: Whether it writes.
        block: [lanes], the block of each.
        thread: [lanes], the thread of each within its block.
        epoch: [lanes], how many barriers its block has passed.
        text: The instruction, for messages.
    """

    address: np.ndarray
    size: int
    store: bool
    block: np.ndarray
    thread: np.ndarray
    epoch: np.ndarray
    text: str

    def check_alignment(self) -> None:
        """An access of n bytes must begin at a multiple of n."""
        if (self.address % self.size).any():
            raise PtxError(f"misaligned access of {self.size} bytes: {self.text}")

    @property
    def bytes_of_lanes(self) -> np.ndarray:
        """[lanes, size], every address that is touched."""
        return self.address[:, None] + np.arange(self.size)


class GlobalMemory:
    """Allocations with unmapped bytes between them.

    Two blocks may read the same byte, but what one has written no other may touch: nothing orders them.
    """

    def __init__(self, buffers: Sequence[bytes]) -> None:
        self.begins = []
        top = GAP
        for buffer in buffers:
            self.begins.append(top)
            top = -(-(top + len(buffer) + GAP) // 256) * 256
        self.raw = np.zeros(top, np.uint8)
        self.mapped = np.zeros(top, bool)
        self.writer = np.full(top, NOBODY, np.int32)
        self.reader = np.full(top, NOBODY, np.int32)
        for begin, buffer in zip(self.begins, buffers, strict=True):
            self.raw[begin : begin + len(buffer)] = np.frombuffer(buffer, np.uint8)
            self.mapped[begin : begin + len(buffer)] = True

    def content(self, index: int, length: int) -> bytes:
        """What the allocation holds now."""
        begin = self.begins[index]
        return self.raw[begin : begin + length].tobytes()

    def check(self, access: Access) -> np.ndarray:
        """Check an access and remember it; returns the addresses [lanes, size]."""
        access.check_alignment()
        where = access.bytes_of_lanes
        if (where < 0).any() or (where >= self.raw.size).any() or not self.mapped[where].all():
            raise PtxError(f"global access out of bounds: {access.text}")
        block = access.block[:, None].astype(np.int32)
        others = (self.writer[where] != NOBODY) & (self.writer[where] != block)
        if access.store:
            others |= (self.reader[where] != NOBODY) & (self.reader[where] != block)
            self.writer[where] = block
            others |= self.writer[where] != block  # two blocks in this very instruction
        else:
            known = self.reader[where]
            self.reader[where] = np.where((known == NOBODY) | (known == block), block, SEVERAL)
        if others.any():
            raise PtxError(f"blocks race for global memory: {access.text}")
        return where


class SharedMemory:
    """One array of bytes per block. Between two barriers no thread may touch what another has written."""

    def __init__(self, blocks: int, size: int) -> None:
        self.size = size
        shape = (blocks, size)
        self.raw = np.full(shape, 0xFF, np.uint8)
        self.written = np.zeros(shape, bool)
        self.writer, self.writer_epoch = np.full(shape, NOBODY, np.int32), np.full(shape, -1, np.int32)
        self.reader, self.reader_epoch = np.full(shape, NOBODY, np.int32), np.full(shape, -1, np.int32)

    def check(self, access: Access) -> tuple[np.ndarray, np.ndarray]:
        """Check an access and remember it; returns index arrays [lanes, size] for `raw`."""
        access.check_alignment()
        where = access.bytes_of_lanes
        if (where < 0).any() or (where >= self.size).any():
            raise PtxError(f"shared access out of bounds: {access.text}")
        at = (np.broadcast_to(access.block[:, None], where.shape), where)
        thread, epoch = access.thread[:, None], access.epoch[:, None]
        raced = (self.writer_epoch[at] == epoch) & (self.writer[at] != thread)
        if access.store:
            raced |= (self.reader_epoch[at] == epoch) & (self.reader[at] != thread)
            self.writer[at], self.writer_epoch[at] = thread, epoch
            raced |= self.writer[at] != thread  # two lanes in this very instruction
            self.written[at] = True
        else:
            if not self.written[at].all():
                raise PtxError(f"read of shared memory that was never written: {access.text}")
            shared = (self.reader_epoch[at] == epoch) & (self.reader[at] != thread)
            self.reader[at], self.reader_epoch[at] = np.where(shared, SEVERAL, thread), epoch
            self.reader[at] = np.where(self.reader[at] != thread, SEVERAL, self.reader[at])
        if raced.any():
            raise PtxError(f"threads race for shared memory between barriers: {access.text}")
        return at
