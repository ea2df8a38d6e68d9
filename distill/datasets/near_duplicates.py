"""Near duplicates by a perceptual hash: the signs of the low-frequency DCT coefficients of an image.

Source: C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, its DCT hash:
the discrete cosine transform of a small grey copy, one bit a coefficient, set where it is above the median.
Here 16 x 16 coefficients of a copy of 64 x 64, so 256 bits. With 64 bits, different scenes of one camera are
as close (10 bits) as copies with clipped highlights (14); with 256 there is a gap. Bits that differ:

    copies (JPEG 30, half and quarter size, other shape, noise, gain 1.2)    99 % below 24, all below 51
    the same with 2 % cropped at each side                                    median 34, at most 68
    neighbours at 2 frames/s in two videos of a slow car                     median 10 and 22
    different scenes of one camera, 72,000 pairs                             58 or more, median 114
    across the splits of 797 street images, split by scene                 76 or more
    the same empty sky with other sensor noise                               82 or more

The number of chance pairs falls a hundredfold with every 10 bits: at ``NEAR``, the pairs of 41,000 images
should contain a handful. Consecutive frames of a fast drive are not found: their hashes differ too much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16  # coefficients a side
BITS = SIDE * SIDE
SMALL = 64  # pixels a side of the copy that is transformed
NEAR = 40  # bits that may differ
FLAT = 2.0  # grey levels; with a smaller standard deviation an image has too little content to compare
BLOCK = 2048  # images compared with as many at once: 16 MiB, some 150 MiB if all are duplicates
LISTED = 50  # pairs that are listed; all are counted

Hash = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicate:
    """Two images of different splits that are near duplicates.

    Attributes:
        splits: Of the two images.
        paths: Of the two images.
        bits: How many of ``BITS`` differ.
    """

    splits: tuple[str, str]
    paths: tuple[Path, Path]
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicates:
    """Near duplicates across splits.

    Attributes:
        count: Number of pairs.
        twins: Two splits, and the number of images of the second with a near duplicate in the first.
        pairs: The closest of each two splits, at most ``LISTED``.
    """

    count: int
    twins: tuple[tuple[str, str, int], ...]
    pairs: tuple[NearDuplicate, ...]


def perceptual_hash(image_bgr: NDArray[np.uint8]) -> Hash | None:
    """The hash of an image ``[H, W, 3]``: uint8 ``[BITS / 8]``, packed; None without enough content."""
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < FLAT:
        return None
    low = cv2.dct(small)[:SIDE, :SIDE].ravel()
    # The first coefficient is the mean brightness; it is not part of the median.
    return np.packbits(low > np.median(low[1:]))


def near_duplicates(hashes: Mapping[str, Sequence[tuple[Path, Hash]]]) -> NearDuplicates:
    """Compare each image with those of all other splits.

    A matrix product of signs counts equal bits. 41,000 images take 3 s of one core:

        python -m timeit -p -n 1 -s "from distill.datasets.near_duplicates import near_duplicates as f
        import numpy as np
        h = list(enumerate(np.random.default_rng(0).integers(0, 256, (41000, 32), np.uint8)))"
        "f({'train': h[:29000], 'val': h[29000:35000], 'test': h[35000:]})"

    Args:
        hashes: Images by split, without those whose pixels are equal: they are exact duplicates.
    """
    signs = {split: _signs([h for _, h in checked]) for split, checked in hashes.items()}
    count, pairs, twins = 0, list[NearDuplicate](), list[tuple[str, str, int]]()
    for one, other in combinations(hashes, 2):
        is_duplicate = np.zeros(len(hashes[other]), bool)
        nearest: list[tuple[int, int, int]] = []
        for bits, i, j in _near(signs[one], signs[other]):
            count += len(bits)
            is_duplicate[j] = True
            first = np.argsort(bits, kind="stable")[:LISTED]
            found = zip(bits[first].tolist(), i[first].tolist(), j[first].tolist(), strict=True)
            nearest = sorted([*nearest, *found])[:LISTED]
        if nearest:
            twins.append((one, other, int(is_duplicate.sum())))
        pairs += [
            NearDuplicate(splits=(one, other), paths=(hashes[one][i][0], hashes[other][j][0]), bits=bits)
            for bits, i, j in nearest
        ]
    return NearDuplicates(count=count, twins=tuple(twins), pairs=tuple(pairs))


def _signs(hashes: Sequence[Hash]) -> NDArray[np.float32]:
    """Bits as +1 and -1, ``[n, BITS]``."""
    packed = np.array(hashes, np.uint8).reshape(-1, BITS // 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _near(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows of which at most ``NEAR`` bits differ: how many do, and the rows; block by block."""
    least = BITS - 2 * NEAR  # equal bits less different ones
    for i in range(0, len(one), BLOCK):
        for j in range(0, len(other), BLOCK):
            agreement = one[i : i + BLOCK] @ other[j : j + BLOCK].T
            rows, columns = np.nonzero(agreement >= least)
            yield ((BITS - agreement[rows, columns]) / 2).astype(np.int64), rows + i, columns + j
