"""Which input sizes a model takes; torch-free, so that an exported file's runtime may ask, too."""

from __future__ import annotations

from collections.abc import Sequence


def padded_size(sizes: Sequence[int], stride: Sequence[int], minimum: int) -> tuple[int, ...]:
    """The next size that a network takes: multiples of its stride, of at least its minimum."""
    return tuple(max(-(-size // step) * step, -(-minimum // step) * step) for size, step in zip(sizes, stride, strict=True))
