"""Batched evaluation on the validation splits, with the letterbox, decoding and metrics of the runtime."""

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
from distill.models.yolov5 import Yolov5, fuse_batch_norms
from distill.training.torch_detector import TorchDetector
from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.decode import decode
from runtime.letterbox import Letterbox, letterbox, to_tensor
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, Accuracy, score
from runtime.tiling import TiledDetector, Tiling

BATCH = 8  # larger batches are no faster on a CPU, and raw maps at full input size are large


class Validation:
    """The validation images of some data sets. All are decoded once at the start to get their sizes.

    Args:
        datasets: Data sets with the same classes; one without a validation split is skipped.
        spec: Contract of the networks that are evaluated.
        cache_mib: Memory for decoded images, MiB.
        threads: Number of threads that decode images.
        disk: Disk cache of decoded images; None for no cache.
        tiling: The tiles of each image on which the network runs.

    Attributes:
        paths: Image files.
        classes: Class names.
        truths: Ground truth boxes of each image, pixels of the source image.
        image_hws: Height and width of each source image, pixels.
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
        found = [(d, p) for d in datasets if "val" in d.splits for p in d.images("val")]
        self.paths = [path for _, path in found]
        if not self.paths:
            datasets[0].images("val")  # raises the error for a missing split
        self._spec = spec
        self._threads = threads
        self._tiling = tiling
        self._images = ScaledImages(self.paths, spec, name="validation", memory_mib=cache_mib, disk=disk)
        self.classes = datasets[0].classes
        self.truths: list[Truth] = []
        self.image_hws: list[tuple[int, int]] = []
        with ThreadPoolExecutor(threads) as pool:
            for (dataset, path), hw in zip(
                found, bounded_map(pool, self._source_hw, range(len(self)), BATCH), strict=True
            ):
                labels = dataset.labels(path)
                self.truths.append(Truth(labels.xyxy_px(hw), labels.class_id))
                self.image_hws.append(hw)
        say_remarks(*datasets)

    def __len__(self) -> int:
        return len(self.paths)

    def __call__(self, model: Yolov5) -> Accuracy:
        """Evaluate a network in float32, whatever its training precision, as the saved weights are."""
        return score(self.detections(model), self.truths, self.classes, self.image_hws)

    def detections(self, model: Yolov5) -> list[Detections]:
        """Detections of each image in source pixels, with the low score threshold of the evaluation."""
        if not self._tiling.is_whole:
            return self._tiled_detections(model)
        network = fuse_batch_norms(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found: list[Detections] = []
        with ThreadPoolExecutor(self._threads) as pool:
            inputs = bounded_map(pool, self._input, range(len(self)), 2 * BATCH)
            while batch := list(islice(inputs, BATCH)):
                found += self._detect(network, np.concatenate(batch), len(found))
        return found

    def _tiled_detections(self, model: Yolov5) -> list[Detections]:
        """Detections from tiles of the full-size images, which are not cached."""
        detector = TorchDetector(model, self._spec, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
        tiled = TiledDetector(detector, self._tiling)
        with ThreadPoolExecutor(self._threads) as pool:
            return [tiled(image) for image in bounded_map(pool, read_image, self.paths, BATCH)]

    def _detect(self, network: Yolov5, images: NDArray[np.float32], first: int) -> list[Detections]:
        """Detections of inputs ``[n, 3, h, w]``, the images from index ``first`` on."""
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
        # The image already has the scale of the letterbox; only the border is added here.
        return to_tensor(letterbox(self._images[index].image_bgr, self._spec)[0], self._spec)
