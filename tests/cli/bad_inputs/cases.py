"""The cases: every verb on damaged files, odd paths and odd values of its options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.cli.bad_inputs.materials import STUDY

#: For the demo, only paths that end it at once: a whole one takes minutes.
DEMO_PATHS = (
    *(".", "empty", "loop", "fifo", "/dev/null", "/dev/null/x", "/proc/none/x", "/proc/self/mem", "n" * 300),
    *("a/" * 3000, "empty/x", "loop/x"),
)
BENCH = ("--duration-s", "0.1", "--min-samples", "3", "--warmup-s", "0")
SET = "data/data.yaml"
JSONS = ("a.json", "eval.json")
RUN_SMALL = ("--data", SET, "--out", "out", "--set", "methods={}", "--set", "epochs=1", "--set", "batch=2")

#: Odd paths. "{fifo}" and the like are made by the runner in the folder of the case.
ODD_PATHS = (
    *("", "-", ".", "/", "data", "data/", "gone/", "gone/file.json", "fifo", "/dev/null", "/dev/full"),
    *("/dev/zero", "/proc/self/mem", "/proc/none/x", "/proc/1/status", "n" * 251, "n" * 5000, "a/" * 3000),
    *(
        "日本 語/ü .png",
        "a\nb",
        "[red]x",
        "\udcff\udcfe.json",
        "loop",
        "empty",
        "~",
        "//",
        "%d.png",
        "*",
        "a:b",
    ),
)
ODD_NUMBERS = (
    *("-1", "0", "nan", "inf", "-inf", "1e308", "9" * 30, "9" * 5000, "", "x", "1.5", "1e-320", "٣", "0x10"),
)
ODD_SIZES = (
    "0x0",
    "-1x5",
    "1x1",
    "99999x99999",
    "x",
    "64",
    "64x",
    "nanxnan",
    "1e3x64",
    "64x96x3",
    "33x97",
    "٣x٣",
)
STUDY_FILES = ("score.json", "cell.json", "detections.npz", "history.csv", "result.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One command on one bad input.

    Attributes:
        name: Names the case; the random choices follow from it and the seed.
        words: The command, in a folder of its own.
        materials: The good inputs that are copied there first.
        targets: Globs of files, one of which is damaged; empty for none.
        changes: Folders whose files the command may change.
    """

    name: str
    words: tuple[str, ...]
    materials: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    changes: tuple[str, ...] = ("out",)


@dataclass(frozen=True, slots=True)
class _Damaged:
    """A command, the inputs it needs, what is damaged, and how many cases are made of it."""

    name: str
    words: tuple[str, ...]
    materials: tuple[str, ...]
    targets: tuple[str, ...]
    count: int
    changes: tuple[str, ...] = ("out",)


def _w(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DAMAGED = (
    _Damaged(
        "run-onnx",
        _w("run tiny.onnx --source data/images/val --save out"),
        ("onnx", "data"),
        ("tiny.onnx",),
        24,
    ),
    _Damaged(
        "estimate-onnx",
        _w("estimate tiny.onnx --device t4 --precision fp16"),
        ("onnx",),
        ("tiny.onnx",),
        12,
    ),
    _Damaged("inspect-onnx", _w("inspect tiny.onnx"), ("onnx",), ("tiny.onnx",), 16),
    _Damaged("doctor-onnx", _w("doctor --for v100 --model tiny.onnx"), ("onnx",), ("tiny.onnx",), 6),
    _Damaged(
        "doctor-engine", _w("doctor --for v100 --model x.engine"), ("engine",), ("x.engine", "x*.json"), 6
    ),
    _Damaged("lint-onnx", _w("inspect tiny.onnx --lint"), ("onnx",), ("tiny.onnx",), 14),
    _Damaged(
        "lint-int8", _w("inspect models/run-int8.onnx --lint"), ("models",), ("models/run-int8.onnx",), 6
    ),
    _Damaged(
        "run-ort",
        _w("run models/run-fp32.onnx --source data/images/val"),
        ("models",),
        ("models/run-fp32.onnx", "models/run-fp32.onnx.manifest.json"),
        12,
    ),
    _Damaged(
        "run-ov",
        _w("run models/run-fp32.xml --source data/images/val"),
        ("models",),
        ("models/*.xml", "models/*.bin", "models/run-fp32.xml.manifest.json"),
        24,
    ),
    _Damaged(
        "inspect-ov",
        _w("inspect models/run-fp32.xml"),
        ("models",),
        ("models/*.xml", "models/*.bin", "models/run-fp32.xml.manifest.json"),
        10,
    ),
    _Damaged(
        "verify-onnx",
        (*_w("verify tiny.onnx other.onnx --data"), SET),
        ("onnx", "data"),
        ("other.onnx", "data/data.yaml", "data/labels/val/*.txt"),
        8,
    ),
    _Damaged("bench-onnx", (*_w("bench tiny.onnx"), *BENCH), ("onnx",), ("tiny.onnx",), 5),
    _Damaged("inspect-ckpt", _w("inspect ckpt"), ("ckpt",), ("ckpt/spec.json", "ckpt/model.safetensors"), 20),
    _Damaged(
        "run-ckpt",
        _w("run ckpt --source data/images/val"),
        ("ckpt", "data"),
        ("ckpt/spec.json", "ckpt/model.safetensors"),
        8,
    ),
    _Damaged(
        "export-ckpt",
        _w("export run/best --to onnx --precision fp32 --out out"),
        ("run",),
        ("run/best/spec.json", "run/best/model.safetensors"),
        20,
    ),
    _Damaged("export-pt", _w("export old.pt --to onnx --precision fp32 --out out"), ("pt",), ("old.pt",), 24),
    _Damaged("eval-pt", (*_w("eval old.pt --data"), SET), ("pt", "data"), ("old.pt",), 6),
    _Damaged(
        "engine", _w("run x.engine --source data/images/val"), ("engine", "data"), ("x.engine", "x*.json"), 6
    ),
    _Damaged(
        "engine-trusted", _w("inspect x.engine --trust-engine"), ("engine",), ("x.engine", "x*.json"), 8
    ),
    _Damaged(
        "check",
        (*_w("data check"), SET),
        ("data",),
        ("data/data.yaml", "data/labels/*/*.txt", "data/images/*/*"),
        24,
    ),
    _Damaged(
        "anchors",
        (*_w("data anchors"), SET),
        ("data",),
        ("data/data.yaml", "data/labels/*/*.txt", "data/images/*/*"),
        8,
    ),
    _Damaged(
        "plots",
        (*_w("data plots"), SET, "--out", "out"),
        ("data",),
        ("data/data.yaml", "data/labels/*/*.txt", "data/images/*/*"),
        6,
    ),
    _Damaged(
        "eval",
        (*_w("eval tiny.onnx --data"), SET),
        ("onnx", "data"),
        ("data/data.yaml", "data/labels/val/*.txt", "data/images/val/*"),
        16,
    ),
    _Damaged(
        "calib",
        _w("export run/best --to onnx --precision int8 --out out --calib data/data.yaml"),
        ("run",),
        ("data/data.yaml", "data/labels/val/*.txt", "data/images/*/*"),
        6,
    ),
    _Damaged(
        "cache",
        _w("export run/best --to onnx --precision int8 --out out --calib data/data.yaml"),
        ("models",),
        ("cache/edgestill/**/*",),
        8,
        ("out", "cache"),
    ),
    _Damaged(
        "distill-data",
        ("distill", "recipe.toml", *RUN_SMALL),
        ("recipes", "data"),
        ("data/data.yaml", "data/labels/*/*.txt", "data/images/*/*"),
        8,
    ),
    _Damaged(
        "distill-teacher",
        _w("distill recipe.toml --data data/data.yaml --out out --set teacher=run/best"),
        ("run",),
        ("run/best/*",),
        6,
    ),
    _Damaged(
        "recipe",
        (*_w("distill recipe.toml --dry-run --out out --data"), SET),
        ("recipes", "data"),
        ("recipe.toml",),
        16,
    ),
    _Damaged("recipe-run", ("distill", "recipe.toml", *RUN_SMALL), ("recipes", "data"), ("recipe.toml",), 8),
    _Damaged(
        "study",
        (*_w("study study.toml --dry-run --out out --data"), SET),
        ("recipes", "data"),
        ("study.toml",),
        16,
    ),
    _Damaged(
        "resume",
        (*_w("distill recipe.toml --resume --out half --set methods={} --data"), SET),
        ("half",),
        ("half/state.pt", "half/state.pt", "half/history.csv", "half/*/*"),
        14,
        ("half",),
    ),
    _Damaged("compare", _w("compare a.json b.json"), ("results",), ("a.json", "b.json"), 16),
    _Damaged("report", _w("report a.json eval.json --out out/r.html"), ("results",), JSONS, 24),
    *(
        _Damaged(f"report-{kind}", _w(f"report a.json eval.json --out out/r.{kind}"), ("results",), JSONS, 8)
        for kind in ("md", "csv")
    ),
    _Damaged(
        "safety",
        (*_w("eval tiny.onnx --safety --data"), SET),
        ("onnx", "data"),
        ("data/data.yaml", "data/labels/val/*.txt", "data/images/val/*"),
        6,
    ),
    _Damaged("report-run", _w("report run/result.json --out out/r.html"), ("run",), ("run/result.json",), 6),
    _Damaged(
        "video",
        _w("run tiny.onnx --source clip.mp4 --save out/clip.mp4 --track"),
        ("onnx", "clip"),
        ("clip.mp4",),
        8,
    ),
    _Damaged(
        "bench-video", (*_w("bench tiny.onnx --source clip.mp4"), *BENCH), ("onnx", "clip"), ("clip.mp4",), 3
    ),
    _Damaged(
        "images",
        _w("run tiny.onnx --source data/images/val --json-lines"),
        ("onnx", "data"),
        ("data/images/val/*",),
        10,
    ),
    _Damaged(
        "coco",
        _w("data convert coco coco --out out"),
        ("converted",),
        ("coco/annotations/*", "coco/train2017/*"),
        14,
    ),
    _Damaged(
        "voc",
        _w("data convert voc voc --out out"),
        ("converted",),
        ("voc/Annotations/*", "voc/JPEGImages/*"),
        10,
    ),
    _Damaged(
        "bstld",
        _w("data convert bstld bstld --out out"),
        ("converted",),
        ("bstld/train.yaml", "bstld/rgb/train/x/*"),
        8,
    ),
    _Damaged(
        "lisa", _w("data convert lisa lisa --out out"), ("converted",), ("lisa/Annotations/**/*.csv",), 6
    ),
    _Damaged(
        "study-go-on",
        STUDY,
        ("studied",),
        (
            "studied/study.json",
            *(f"studied/cells/*/*/*/{name}" for name in STUDY_FILES),
        ),
        16,
        ("studied",),
    ),
    _Damaged(
        "convert-again",
        _w("data convert coco coco --out conv --force"),
        ("conversion",),
        ("conv/*.jsonl", "conv/data.yaml"),
        10,
        ("conv",),
    ),
    _Damaged(
        "class-map",
        _w("data convert coco coco --out out --classes classes.toml"),
        ("converted", "recipes"),
        ("classes.toml",),
        6,
    ),
)

#: Commands with "{}" in the place of a path, and their inputs.
PATHS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("run {} --source data/images/val", ("data",)),
    ("run tiny.onnx --source {}", ("onnx",)),
    ("run tiny.onnx --source clip.mp4 --save {}", ("onnx", "clip")),
    ("run tiny.onnx --source data/images/val --save {}", ("onnx", "data")),
    ("inspect {}", ()),
    ("inspect {} --lint", ()),
    ("eval tiny.onnx --data {}", ("onnx",)),
    ("eval {} --data data/data.yaml", ("data",)),
    ("verify tiny.onnx {} --data data/data.yaml", ("onnx", "data")),
    ("bench {}", ()),
    ("bench tiny.onnx --duration-s 0.1 --min-samples 3 --warmup-s 0 --out {}", ("onnx",)),
    ("bench tiny.onnx --duration-s 0.1 --min-samples 3 --warmup-s 0 --source {}", ("onnx",)),
    ("compare {} b.json", ("results",)),
    ("report {} --out out/r.html", ()),
    ("report a.json --out {}", ("results",)),
    ("export {} --to onnx --precision fp32 --out out", ()),
    ("export ckpt --to onnx --precision fp32 --out {}", ("ckpt",)),
    ("export ckpt --to onnx --precision int8 --out out --calib {}", ("ckpt",)),
    ("export ckpt --to onnx --precision fp32 --out out --name {}", ("ckpt",)),
    ("distill {} --data data/data.yaml --out out", ("data",)),
    ("distill recipe.toml --data {} --out out --set methods={{}}", ("recipes",)),
    ("distill recipe.toml --data data/data.yaml --out {} --dry-run", ("recipes", "data")),
    ("distill recipe.toml --data data/gone.yaml --out {} --set methods={{}}", ("recipes", "data")),
    ("distill recipe.toml --data data/data.yaml --out {} --resume", ("recipes", "data")),
    ("distill recipe.toml --data data/data.yaml --out out --set teacher={}", ("recipes", "data")),
    ("study {} --data data/data.yaml --out out", ("data",)),
    ("study street --data {} --out out", ()),
    ("study study.toml --data gone.yaml --out {}", ("recipes",)),
    ("data check {}", ()),
    ("data anchors {}", ()),
    ("data plots {} --out out", ()),
    ("data plots data/data.yaml --out {}", ("data",)),
    ("data convert coco {} --out out", ()),
    ("data convert voc {} --out out", ()),
    ("data convert coco coco --out {}", ("converted",)),
    ("data convert coco coco --out out --classes {}", ("converted",)),
    ("data synth --images 1 --size 320x192 --workers 1 --out {}", ()),
    ("data clip --seconds 0.1 --size 320x192 --out {}", ()),
    ("devices {}", ()),
    ("estimate {} --device t4 --precision fp16", ()),
    ("estimate yolov5n --device {} --precision fp16", ()),
    ("estimate yolov5n --all --precision fp16 --out {}", ()),
    ("estimate --device t4 --calibrate {}", ()),
    ("doctor --for v100 --model {}", ()),
    ("eval tiny.onnx --data data/data.yaml --safety --clip {}", ("onnx", "data")),
    ("bundle {} --wheels data --images data/images/val --out out/x.tar", ("data",)),
    ("bundle --check {}", ()),
    ("bundle tiny.onnx --wheels {} --images data/images/val --out out/x.tar", ("onnx", "data")),
    ("bundle tiny.onnx --wheels data --images data/images/val --out {}", ("onnx", "data")),
)  # fmt: skip

#: Commands with "{}" in the place of a number or a size.
NUMBERS = (
    *("run tiny.onnx --source data/images/val --conf {}", "run tiny.onnx --source data/images/val --iou {}"),
    "run tiny.onnx --source data/images/val --web {}",
    *(
        "run tiny.onnx --source data/images/val --threads {}",
        "run tiny.onnx --source data/images/val --max-frames {}",
    ),
    *("run tiny.onnx --source data/images/val --tile 2x1 --tile-overlap {}", "run tiny.onnx --source {}"),
    *("run tiny.onnx --source data/images/val --retry {}", "run tiny.onnx --source csi://nowhere?fps={}"),
    *("run tiny.onnx --source v4l2:///dev/video97?fps={}", "run tiny.onnx --source rtsp://[::1/x?latency={}"),
    "eval tiny.onnx --data data/data.yaml --safety --conf {}",
    *("eval tiny.onnx --data data/data.yaml --limit {}", "eval tiny.onnx --data data/data.yaml --threads {}"),
    *("verify tiny.onnx other.onnx --data data/data.yaml --max-drop {}",),
    *("verify tiny.onnx other.onnx --data data/data.yaml --images {}",),
    *("bench tiny.onnx --duration-s 0.1 --min-samples {} --warmup-s 0 --source data/images/val",),
    *("export ckpt --to onnx --precision fp32 --out out --batch {}",),
    *("export ckpt --to onnx --precision int8 --calib data/data.yaml --out out --calib-images {}",),
    *("export ckpt --to tensorrt --precision fp16 --out out --build-memory-mib {}",),
    *("export ckpt --to tensorrt --precision fp16 --out out --device cuda:{}",),
    *("run tiny.onnx --source data/images/val --device cuda:{}", "inspect tiny.onnx --device {}"),
    *("export ckpt --to openvino --precision fp32 --out out --max-drop {} --verify data/data.yaml",),
    *("export ckpt --to tensorrt --precision fp16 --out out --workspace-mib {}",),
    *("export ckpt --to tensorrt --precision fp16 --out out --dla {}",),
    *("doctor --for v100 --tensorrt {}",),
    *("distill recipe.toml --data data/data.yaml --out out --dry-run --set epochs={}",),
    *("distill recipe.toml --data data/data.yaml --out out --set batch={} --set methods={{}}",),
    *("distill recipe.toml --data data/data.yaml --out out --set optimiser.lr={} --set methods={{}}",),
    *("study study.toml --data data/data.yaml --out out --dry-run --jobs {}",),
    *("study study.toml --data data/data.yaml --out out --dry-run --set seeds={}",),
    *("data synth --out out --images {} --size 320x192 --workers 1",),
    *("data synth --out out --images 1 --size 320x192 --workers 1 --seed {}",),
    *("data synth --out out --images 1 --size 320x192 --workers {}",),
    *("data synth --out out --images 1 --workers 1 --size 320x192 --splits {},0,0",),
    *("data clip --out out/c.mp4 --size 320x192 --seconds 0.1 --fps {}",),
    "estimate yolov5n --device t4 --precision fp16 --batch {}",
    *("data convert coco coco --out out --val-share {}", "data convert coco coco --out out --seed {}"),
)
KEYS = (
    *("seed", "threads", "patience", "cache_mib", "loader_threads", "eval_every", "save_every_steps"),
    *("optimiser.momentum", "optimiser.warmup_epochs", "optimiser.ema_steps", "optimiser.clip", "loss.box"),
    *(
        "loss.cls",
        "loss.balance",
        "augment.mosaic",
        "augment.zoom",
        "train_hw",
        "input_hw",
        "student.anchors_px",
    ),
    *("optimiser.final", "optimiser.weight_decay", "augment.hue", "precision", "student.model", "tiling"),
)
SIZES = (
    *(
        "run tiny.onnx --source data/images/val --imgsz {}",
        "run tiny.onnx --source data/images/val --tile {}",
    ),
    *("eval tiny.onnx --data data/data.yaml --imgsz {}", "eval tiny.onnx --data data/data.yaml --tile {}"),
    "estimate yolov5n --device t4 --precision fp16 --imgsz {}",
    *("export ckpt --to onnx --precision fp32 --out out --imgsz {}",),
    *(
        "data synth --out out --images 1 --workers 1 --size {}",
        "data clip --out out/c.mp4 --seconds 0.1 --size {}",
    ),
)
LIGHT = ("onnx", "data", "ckpt", "recipes", "converted")
PER_PATH, PER_NUMBER, PER_SIZE = 4, 2, 3


def all_cases(seed: int) -> Iterator[Case]:
    """Every case; the odd paths and values of a command are drawn from the seed."""
    for kind in DAMAGED:
        for k in range(kind.count):
            yield Case(
                name=f"{kind.name}-{k}",
                words=kind.words,
                materials=kind.materials,
                targets=kind.targets,
                changes=kind.changes,
            )
    for i, (command, materials) in enumerate(PATHS):
        yield from _filled(f"path{i}", command, materials, ODD_PATHS, PER_PATH, seed)
    yield from _filled("demo", "demo --quick --out {}", (), DEMO_PATHS, PER_PATH, seed)
    for i, command in enumerate(NUMBERS):
        materials = tuple(name for name in LIGHT if _uses(command, name))
        yield from _filled(f"number{i}", command, materials, ODD_NUMBERS, PER_NUMBER, seed)
    for key in KEYS:
        command = (
            f"distill recipe.toml --data data/data.yaml --out out --set methods={{{{}}}} --set {key}={{}}"
        )
        yield from _filled(
            f"key-{key.replace('.', '-')}", command, ("recipes", "data"), ODD_NUMBERS, PER_NUMBER, seed
        )
    for i, command in enumerate(SIZES):
        materials = tuple(name for name in LIGHT if _uses(command, name))
        yield from _filled(f"size{i}", command, materials, ODD_SIZES, PER_SIZE, seed)


def _uses(command: str, material: str) -> bool:
    sign = {"onnx": ".onnx", "data": "data/", "ckpt": "ckpt", "recipes": ".toml", "converted": "coco"}
    return sign[material] in command


def _filled(
    name: str, command: str, materials: tuple[str, ...], values: tuple[str, ...], count: int, seed: int
) -> Iterator[Case]:
    random = Random(f"{seed} {name}")
    for k, value in enumerate(random.sample(values, min(count, len(values)))):
        words = tuple(word.format(value) for word in command.split())
        yield Case(name=f"{name}-{k}", words=words, materials=materials)
