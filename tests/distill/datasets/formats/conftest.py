"""Small data sets, laid out as the real ones are when they have been unpacked."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

AUTHORS = "/home/author/data/DTLD"  # what stands in the label files of DTLD
LIGHT = {
    "direction": "front",
    "relevance": "relevant",
    "occlusion": "not_occluded",
    "orientation": "vertical",
    "aspects": "three_aspects",
    "state": "red",
    "pictogram": "circle",
    "reflection": "not_reflected",
}
LISA_COLUMNS = (
    "Filename;Annotation tag;Upper left corner X;Upper left corner Y;"
    "Lower right corner X;Lower right corner Y;"
    "Origin file;Origin frame number;Origin track;Origin track frame number"
)


def picture(path: Path, seed: int, size_wh: tuple[int, int] = (64, 48)) -> Path:
    """An image of coloured blocks, others for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 255, (size_wh[1] // 16, size_wh[0] // 16, 3), np.uint8)
    assert cv2.imwrite(str(path), np.kron(blocks, np.ones((16, 16, 1), np.uint8)))
    return path


def bayer(path: Path, seed: int, size_wh: tuple[int, int] = (64, 32)) -> Path:
    """A raw image of 12 bits in words of 16, of blocks that survive demosaicing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 0x1000, (size_wh[1] // 8, size_wh[0] // 8), np.uint16)
    assert cv2.imwrite(str(path), np.kron(blocks, np.ones((8, 8), np.uint16)))
    return path


class Output:
    """The folder that a conversion writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, name: str) -> list[list[float]]:
        """The label rows of an image, whatever its split."""
        (path,) = self.path.glob(f"labels/*/{name}.txt")
        return [[float(v) for v in line.split()] for line in path.read_text("utf-8").splitlines()]

    def boxes(self, name: str, size_wh: tuple[int, int]) -> list[list[float]]:
        """Class and corners in pixels of the label rows of an image."""
        found = []
        for class_id, cx, cy, w, h in self.rows(name):
            x0, y0 = (cx - w / 2) * size_wh[0], (cy - h / 2) * size_wh[1]
            corners = (x0, y0, x0 + w * size_wh[0], y0 + h * size_wh[1])
            found.append([class_id, *(round(v, 2) for v in corners)])
        return found

    def splits(self) -> dict[str, str]:
        """The split of each image by its name."""
        return {path.stem: path.parent.name for path in self.path.glob("images/*/*")}


class Dtld:
    """A DTLD folder; ``add`` makes one frame and its label."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
        self.count = 0

    def add(self, split: str, where: str, labels: Sequence[Mapping[str, Any]]) -> str:
        """Returns the name of the image in the converted set."""
        self.count += 1
        path = f"{where}/DE_{self.count:04d}_k0.tiff"
        bayer(self.root / path, self.count)
        record = {"image_path": f"{AUTHORS}/{path}", "disparity_image_path": "", "time_stamp": 1.5}
        self.images[split].append({**record, "labels": list(labels)})
        city, route, sequence = where.split("/")
        return f"dtld-{city}_{route}_{sequence}_DE_{self.count:04d}_k0"

    @staticmethod
    def light(x: float, y: float, w: float, h: float, **attributes: str) -> dict[str, Any]:
        """A label of version 2."""
        box = {"x": x, "y": y, "w": w, "h": h, "unique_id": 1, "track_id": "7"}
        return box | {"attributes": LIGHT | attributes}

    def write(self) -> Path:
        """Write the label files; returns the folder."""
        folder = self.root / "DTLD_labels_v2.0" / "v2.0"
        folder.mkdir(parents=True, exist_ok=True)
        for split, images in self.images.items():
            if images:
                (folder / f"DTLD_{split}.json").write_text(json.dumps({"images": images}), "utf-8")
        return self.root


@pytest.fixture
def dtld(tmp_path: Path) -> Dtld:
    return Dtld(tmp_path / "dtld")


@pytest.fixture
def out(tmp_path: Path) -> Output:
    return Output(tmp_path / "out")


class Bstld:
    """A BSTLD folder; ``add`` makes one frame and its label."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, list[dict[str, Any]]] = {"train": [], "additional_train": [], "test": []}

    def add(self, file: str, path: str, boxes: Sequence[Mapping[str, Any]], *, listed: str = "") -> None:
        """``path`` is below the folder; ``listed`` is what the label file says instead."""
        seed = sum(map(len, self.files.values()))
        picture(self.root / path, seed, (1280, 720))
        self.files[file].append({"boxes": list(boxes), "path": listed or f"./{path}"})

    @staticmethod
    def lamp(x0: float, y0: float, x1: float, y1: float, label: str = "Red") -> dict[str, Any]:
        """A box."""
        return {"label": label, "occluded": False, "x_min": x0, "y_min": y0, "x_max": x1, "y_max": y1}

    def write(self) -> Path:
        """Write the label files; returns the folder."""
        for file, images in self.files.items():
            if images:
                text = yaml.safe_dump(images).replace("label: 'off'", "label: off")  # as a person writes it
                (self.root / f"{file}.yaml").write_text(text, "utf-8")
        return self.root


@pytest.fixture
def bstld(tmp_path: Path) -> Bstld:
    return Bstld(tmp_path / "bstld")


class Lisa:
    """A LISA folder as Kaggle's archive makes it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def clip(self, name: str, frames: int, boxes: Sequence[str], kind: str = "BOX") -> None:
        """``boxes``: ``frame;tag;x0;y0;x1;y1``."""
        time, is_clip = name.removeprefix("sample-")[: -len("Clip1")], "Clip" in name
        outer = f"{time}Train/{time}Train/{name}" if is_clip and "sample" not in name else f"{name}/{name}"
        stem = name.removeprefix("sample-")
        for i in range(frames):
            path = self.root / outer / "frames" / f"{stem}--{i:05d}.jpg"
            picture(path, sum(map(ord, stem)) * 100 + i)
        labels = self.root / "Annotations" / "Annotations"
        labels = labels / f"{time}Train" / name if is_clip else labels / name
        labels.mkdir(parents=True, exist_ok=True)
        with (labels / f"frameAnnotations{kind}.csv").open("w", newline="") as stream:
            stream.write(LISA_COLUMNS + "\n")
            writer = csv.writer(stream, delimiter=";")
            for box in boxes:
                frame, *rest = box.split(";")
                wrong_folder = f"{time}Training" if is_clip else f"{time}Test"
                writer.writerow(
                    [f"{wrong_folder}/{stem}--{int(frame):05d}.jpg", *rest, "x.avi", frame, "x", 0]
                )


@pytest.fixture
def lisa(tmp_path: Path) -> Lisa:
    return Lisa(tmp_path / "lisa")


class Coco:
    """A COCO folder; ``add`` makes one image and its annotations."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data: dict[str, dict[str, list[Any]]] = {}

    def add(self, split: str, objects: Sequence[Mapping[str, Any]], **image: Any) -> str:
        """``objects``: ``category_id``, ``bbox``. Returns the name of the image in the converted set."""
        data = self.data.setdefault(split, {"images": [], "annotations": []})
        number = 1 + sum(len(d["images"]) for d in self.data.values())
        file = image.setdefault("file_name", f"{number:012d}.jpg")
        picture(self.root / f"{split}2017" / file, number)
        data["images"].append({"id": number, "width": 64, "height": 48} | image)
        data["annotations"] += [{"image_id": number, "iscrowd": 0} | dict(o) for o in objects]
        return f"coco_{split}_{Path(file).stem}"

    def write(self) -> Path:
        """Write the annotation files; returns the folder."""
        names = {10: "traffic light", 1: "person", 90: "toothbrush"}  # COCO's gaps
        categories = [{"id": i, "name": name} for i, name in names.items()]
        (self.root / "annotations").mkdir(parents=True)
        for split, data in self.data.items():
            path = self.root / "annotations" / f"instances_{split}2017.json"
            path.write_text(json.dumps({"categories": categories} | data), "utf-8")
        return self.root


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    return Coco(tmp_path / "coco")


PART = (
    "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
)


class Voc:
    """A VOC year; ``add`` makes one image and its XML file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self, stem: str, objects: Sequence[str] = (), *, head: str = "", width: int = 64, height: int = 48
    ) -> str:
        """``objects``: ``name xmin ymin xmax ymax [difficult]``. Returns the name in the converted set."""
        picture(self.root / "JPEGImages" / f"{stem}.jpg", sum(map(ord, stem)))
        items = ""
        for item in objects:
            name, *values = item.split()
            tags = dict(zip(("xmin", "ymin", "xmax", "ymax"), values, strict=False))
            box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags.items())
            flag = f"<difficult>{values[4]}</difficult>" if len(values) > 4 else ""
            items += f"<object><name>{name}</name>{flag}<bndbox>{box}</bndbox>{PART}</object>"
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        path = self.root / "Annotations" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"{head}<annotation><filename>{stem}.jpg</filename>{size}{items}</annotation>"
        path.write_text(text, "utf-8")
        return f"voc_{stem}"

    def image_set(self, split: str, *stems: str) -> None:
        """The official split."""
        path = self.root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(stems) + "\n", "utf-8")


@pytest.fixture
def voc(tmp_path: Path) -> Voc:
    return Voc(tmp_path / "voc")
