"""Accuracy of a network on the validation splits: the project's letterbox, decode and score, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.bounded_map import bounded_map
from distill.data.disk_cache import DiskCache
from distill.data.scaled_images import ScaledImages
from distill.models.yolov5 import Yolov5, fused
from distill.training.torch_detector import TorchDetector
from edgestill.dataset import Dataset, read_image
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.decode import decode
from runtime.letterbox import Letterbox, letterbox, to_tensor
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, Accuracy, score
from runtime.tiling import TiledDetector, Tiling

BATCH = 8  # more does not run faster on a CPU, and raw maps at full input size are large


class Validation:
    """The validation images of some data sets. All are read once at the beginning: boxes are in their pixels.

    Args:
        datasets: With the same classes; one that has no validation split is left out.
        spec: Contract of the networks that are scored.
        cache_mib: Memory for decoded images.
        threads: How many decode.
        disk: Where decoded images are kept as well; None for nowhere.
        tiling: The tiles of each image that a network looks at.

    Attributes:
        paths: The images.
        classes: Class names.
        truths: The true boxes of each image, source pixels.
        image_hws: Height and width of each source image.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        spec: ModelSpec,
        *,
        cache_mib: int,
        threads: int,
        disk: DiskCache | None = None,
        tiling: Tiling = Tiling(),  # noqa: B008 (frozen)
    ) -> None:
        self.paths = [p for dataset in datasets if "val" in dataset.splits for p in dataset.images("val")]
        if not self.paths:
            datasets[0].images("val")  # says what is missing
        self._spec = spec
        self._threads = threads
        self._tiling = tiling
        self._images = ScaledImages(self.paths, spec, name="validation", memory_mib=cache_mib, disk=disk)
        self.classes = datasets[0].classes
        self.truths: list[Truth] = []
        self.image_hws: list[tuple[int, int]] = []
        with ThreadPoolExecutor(threads) as pool:
            for path, hw in zip(
                self.paths, bounded_map(pool, self._source_hw, range(len(self)), BATCH), strict=True
            ):
                labels = datasets[0].labels(path)
                self.truths.append(Truth(labels.xyxy_px(hw), labels.class_id))
                self.image_hws.append(hw)

    def __len__(self) -> int:
        return len(self.paths)

    def __call__(self, model: Yolov5) -> Accuracy:
        """Score a network in float32, whatever it trains in: what the saved weights score elsewhere."""
        return score(self.detections(model), self.truths, self.classes, self.image_hws)

    def detections(self, model: Yolov5) -> list[Detections]:
        """What a network finds in each image, in source pixels, down to the evaluation's low scores."""
        if not self._tiling.is_whole:
            return self._in_tiles(model)
        network = fused(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found: list[Detections] = []
        with ThreadPoolExecutor(self._threads) as pool:
            inputs = bounded_map(pool, self._input, range(len(self)), 2 * BATCH)
            while batch := list(islice(inputs, BATCH)):
                found += self._detect(network, np.concatenate(batch), len(found))
        return found

    def _in_tiles(self, model: Yolov5) -> list[Detections]:
        """The same at the scale of the files, of which tiles are cut: nothing of it is kept in memory."""
        detector = TorchDetector(model, self._spec, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
        looking = TiledDetector(detector, self._tiling)
        with ThreadPoolExecutor(self._threads) as pool:
            return [looking(image) for image in bounded_map(pool, read_image, self.paths, BATCH)]

    def _detect(self, network: Yolov5, images: NDArray[np.float32], first: int) -> list[Detections]:
        """Detections of inputs ``[n, 3, h, w]``, which are those of the images from ``first`` on."""
        tensor = torch.from_numpy(images)
        device = next(network.parameters()).device
        with torch.inference_mode():
            out = network.decode(network(tensor.to(device, memory_format=torch.channels_last))).cpu().numpy()
        return [
            decode(
                out[row : row + 1],
                self._spec,
                Letterbox.fit(hw, self._spec.input_hw),
                hw,
                conf=EVAL_CONF,
                iou=EVAL_IOU,
                multi_label=True,
            )
            for row, hw in enumerate(self.image_hws[first : first + len(images)])
        ]

    def _source_hw(self, index: int) -> tuple[int, int]:
        return self._images[index].source_hw

    def _input(self, index: int) -> NDArray[np.float32]:
        # An image at the scale of the letterbox only gets its border here.
        return to_tensor(letterbox(self._images[index].image_bgr, self._spec)[0], self._spec)
