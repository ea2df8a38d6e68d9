"""A recipe: everything that decides what a training makes, in one TOML file.

Keys that a recipe leaves out have the defaults below; keys that it does not know are refused. Paths are
relative to the working folder; ``student`` and ``teacher`` name the weights that ship with the project.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from distill.data.augment import Augment
from distill.losses.anchor_loss import LossGains
from distill.losses.dfl_loss import DflGains
from distill.qat.settings import Quantisation
from distill.training.schedule import Course, Optimiser
from edgestill.errors import UsageError, unknown_name
from edgestill.files import to_json_text
from edgestill.registry import Registry
from edgestill.spec import COCO_ANCHORS_PX, Head
from runtime.tiling import Tiling

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

METHODS = Registry("distill.methods", "distillation method")
FOLDER = Path(__file__).parent / "recipes"

Teaching = Literal["trained", "random", "shuffled"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The network that is trained.

    Attributes:
        model: Architecture, e.g. ``yolov5n``.
        init: Weights to start from: a checkpoint folder, a legacy ``.pt``, ``student`` or ``teacher``.
            Layers of another shape (another number of classes) start fresh. Empty: all layers do.
        head: Kind of detection head.
        share_levels: Whether the towers of a ``decoupled`` head serve all levels.
        anchors_px: Anchor width and height in input pixels, three levels of three.
        auto_anchor: Whether anchors that reach too few boxes of the data make way for others, see
            ``distill.data.auto_anchor``.
    """

    model: str = "yolov5n"
    init: str = ""
    head: Head = "coupled"
    share_levels: bool = False
    anchors_px: tuple[tuple[tuple[float, float], ...], ...] = COCO_ANCHORS_PX
    auto_anchor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A distillation method in a recipe.

    Attributes:
        course: How its strength runs over the epochs: ``constant``, or ``cosine`` from 1 to ``floor``.
        floor: What is left of it in the last epoch of ``cosine``.
        off_at: From this epoch on (counted from 0) it is off; 0 never.
        config: The method's own settings.
    """

    course: Course = "constant"
    floor: float = 0.1
    off_at: int = 0
    config: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is trained, on what, and how.

    Attributes:
        name: The file's name without ``.toml``.
        data: ``data.yaml`` files that are trained on together.
        unlabelled: Folders of images without labels, e.g. frames of the camera that the model is for. The
            student sees them as it sees the others, but learns from its teacher alone there.
        input_hw: The deployed model's input, height and width in pixels; validation uses it.
        tiling: The tiles that the deployed model looks at (``--tile`` of the other verbs). Windows are cut at
            the scale of a tile then, and validation looks at tiles too.
        train_hw: Size of the windows that are trained on; they are cut at the scale of ``input_hw``.
        epochs: Passes over the training images.
        batch: Images a step, of all processes together.
        seed: Of the fresh weights, the order and the augmentation.
        eval_every: Epochs between validations.
        patience: Epochs without a better mAP after which the training stops; 0 never.
        save_every_steps: Steps between savings of the state inside an epoch; 0 only at its end.
        device: ``auto`` is a GPU where there is one.
        precision: ``auto`` is fp16 on a GPU, bf16 on a CPU that computes it, else fp32.
        threads: Of the network's arithmetic on the CPU; 0 leaves it to torch.
        loader_threads: Threads that make samples.
        cache_mib: Memory for decoded training images; validation images take up to a quarter of it more.
        disk_cache_mib: Disk space for decoded images at the scale of ``input_hw``, for data sets that memory
            does not hold; 0 writes none. Processes with the same folder share what is in it.
        disk_cache: That folder; empty is ``edgestill/images`` in the user's cache folder.
        teacher: Its weights: a checkpoint folder, a legacy ``.pt``, a detector's ``.pt`` of ``ultralytics``,
            ``student`` or ``teacher``. Empty, with ``quantisation``: the student's own, before rounding.
        teaching: What the student is shown: what the ``trained`` teacher makes of its image, or, as controls
            for a claim, what a ``random`` network of the teacher's architecture makes of it, or what the
            trained one makes of another image of the batch (``shuffled``).
        student: The network that is trained.
        optimiser: Steps and their size.
        loss: Weights of the detection loss of a student with anchors.
        loss_dfl: Weights of the detection loss of a ``dfl`` student.
        augment: How samples vary.
        methods: Distillation methods by name; none needs no teacher.
        quantisation: Training with the roundings of INT8.
    """

    name: str
    data: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    input_hw: tuple[int, int] = (384, 640)
    tiling: Tiling = field(default_factory=Tiling)
    train_hw: tuple[int, int] = (320, 320)
    epochs: int = 100
    batch: int = 16
    seed: int = 0
    eval_every: int = 5
    patience: int = 0
    save_every_steps: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: int = 0
    loader_threads: int = 2
    cache_mib: int = 4096
    disk_cache_mib: int = 0
    disk_cache: str = ""
    teacher: str = ""
    teaching: Teaching = "trained"
    student: Student = field(default_factory=Student)
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss: LossGains = field(default_factory=LossGains)
    loss_dfl: DflGains = field(default_factory=DflGains)
    augment: Augment = field(default_factory=Augment)
    methods: Mapping[str, Term] = field(default_factory=dict)
    quantisation: Quantisation = field(default_factory=Quantisation)

    def __post_init__(self) -> None:
        for key in ("epochs", "batch", "eval_every", "loader_threads"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} = {getattr(self, key)} in recipe {self.name}", hint="1 or more")
        for key in ("input_hw", "train_hw"):
            if any(side < 32 or side % 32 for side in getattr(self, key)):
                raise UsageError(
                    f"{key} = {list(getattr(self, key))} in recipe {self.name}",
                    hint="height and width in steps of 32, e.g. [384, 640]",
                )
        for key in ("mosaic", "focus", "unscaled", "flip", "visible"):
            if not 0 <= getattr(self.augment, key) <= 1:
                raise UsageError(
                    f"augment.{key} = {getattr(self.augment, key)} in recipe {self.name}", hint="from 0 to 1"
                )
        if self.student.auto_anchor and self.student.head == "dfl":
            raise UsageError(
                f"student.auto_anchor in recipe {self.name}, whose dfl head has no anchors",
                hint="leave it out",
            )
        if len(self.loss.balance) != len(self.student.anchors_px):
            raise UsageError(
                f"loss.balance = {list(self.loss.balance)} in recipe {self.name}",
                hint=f"one number for each of the {len(self.student.anchors_px)} levels",
            )
        low, high = self.augment.zoom
        if not 0 < low <= high:
            raise UsageError(f"augment.zoom = {[low, high]} in recipe {self.name}", hint="e.g. [0.6, 1.7]")
        if self.unlabelled and not self.methods:
            raise UsageError(
                f"recipe {self.name} has unlabelled images and no method to learn from a teacher there",
                hint="--set 'unlabelled=[]', or name a method, e.g. --set methods.logits.weight=1",
            )
        if self.quantisation.family and not self.student.init:
            raise UsageError(
                f"recipe {self.name} rounds a student that has learnt nothing yet",
                hint="--set student.init=runs/x/best: train it in float first",
            )
        if self.methods and not self.taught_by:
            raise UsageError(
                f"recipe {self.name} distils by {', '.join(self.methods)} and names no teacher",
                hint="--set teacher=runs/x/best, or --set methods={} to train without one",
            )

    @property
    def taught_by(self) -> str:
        """The teacher's weights; with rounding and no other named, those that the student begins with."""
        return self.teacher or (self.student.init if self.quantisation.family else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as it is kept in checkpoints and results."""
        plain: dict[str, Any] = json.loads(to_json_text(self))
        return plain


def load_recipe(name: str, settings: Sequence[str] = (), data: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: A shipped recipe, or a TOML file.
        settings: ``key=value`` with dots into tables, e.g. ``methods.cwd.weight=2``; they win over the file.
        data: ``data.yaml`` files that replace the recipe's.

    Raises:
        UsageError: There is no such recipe, or it holds what a recipe cannot hold.
    """
    stem, table = read_recipe(name)
    for setting in settings:
        override(table, setting)
    if data:
        table["data"] = list(data)
    return build_recipe(stem, table)


def read_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the table of a shipped recipe or a TOML file, as it stands there.

    Raises:
        UsageError: There is no such recipe, or it is not TOML.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise unknown_name("recipe", name, recipe_names())
    return path.stem, read_toml(path, f"shipped recipes: {', '.join(recipe_names())}")


def recipe_names() -> list[str]:
    """The recipes that ship with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_toml(path: Path, hint: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: It is missing or not TOML; the hint says what to do.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist", hint=hint) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}", hint=hint) from error
    return table


def override(table: dict[str, Any], setting: str) -> None:
    """Put one ``key=value`` into the table; a value that is not TOML is a plain string.

    Raises:
        UsageError: It is not ``key=value``, or the key leads into something that is not a table.
    """
    key, separator, text = setting.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise UsageError(f"--set {setting}", hint="write --set key=value, e.g. --set epochs=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {setting}: {part} is not a table", hint="the dots lead into tables")
    table[parts[-1]] = value


def build_recipe(name: str, table: Mapping[str, Any]) -> Recipe:
    """Make a recipe of the table of a TOML file.

    Raises:
        UsageError: It holds what a recipe cannot hold.
    """
    if "name" in table:
        raise UsageError(f"name = {table['name']!r} in recipe {name}", hint="its file's name is its name")
    methods = table.get("methods", {})
    if not isinstance(methods, dict):
        raise _mismatch("methods", "a table", methods)
    terms = {method: _term(method, settings) for method, settings in methods.items()}
    paths = {key: [table[key]] for key in ("data", "unlabelled") if isinstance(table.get(key), str)}
    return build(Recipe, {**table, **paths, "name": name, "methods": terms}, "")


def _term(method: str, settings: Any) -> Term:
    """Split a method's table into what all methods have and what is its own."""
    where = f"methods.{method}"
    if not isinstance(settings, dict):
        raise _mismatch(where, "a table", settings)
    module = METHODS.load(method)
    shared = {f.name for f in fields(Term)} - {"config"}
    own = {f.name for f in fields(module.Config)}
    for key in settings:
        if key not in shared | own:
            raise unknown_name(f"key of [{where}]", key, shared | own)
    config = build(module.Config, {k: v for k, v in settings.items() if k in own}, where)
    return build(Term, {**{k: v for k, v in settings.items() if k in shared}, "config": config}, where)


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a dataclass of a table, each value of the type that the class asks for.

    Args:
        cls: The dataclass; its fields are the keys.
        table: Values by key; a key with a default may be left out.
        where: Name of the table in the file; empty at its top.

    Raises:
        UsageError: A key is unknown or lacking, or a value is of another type.
    """
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # only dataclasses come here
    for key in table:
        if key not in known:
            raise unknown_name(f"key of [{where}]" if where else "recipe key", key, known)
    for key, f in known.items():
        if key not in table and f.default is MISSING and f.default_factory is MISSING:
            raise UsageError(f"{where or 'the recipe'} lacks the key {key}", hint=f"add {key} = ...")
    prefix = f"{where}." if where else ""
    return cls(**{key: _typed(hints[key], value, f"{prefix}{key}") for key, value in table.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint``, where that loses nothing; else a UsageError that names the key."""
    origin = get_origin(hint)
    if hint is Any or origin in {dict, Mapping} or _is_mapping(hint):
        return value
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise _mismatch(where, "a table", value)
        return build(hint, value, where)  # type: ignore[arg-type]  # a class, not an instance
    if origin is Literal:
        if value not in get_args(hint):
            raise _mismatch(where, " or ".join(map(str, get_args(hint))), value)
        return value
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if origin in {Union, UnionType}:
        raise TypeError(f"{where}: recipes know no unions")
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise _mismatch(
            where, {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text"), value
        )
    return hint(value)


def _is_mapping(hint: Any) -> bool:
    return getattr(get_origin(hint), "__name__", "") == "Mapping"


def _tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    any_length = len(items) == 2 and items[1] is Ellipsis
    if not isinstance(value, (list, tuple)) or (not any_length and len(value) != len(items)):
        raise _mismatch(where, "a list" if any_length else f"a list of {len(items)}", value)
    hints = [items[0]] * len(value) if any_length else items
    return tuple(_typed(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _mismatch(where: str, wanted: str, value: Any) -> UsageError:
    return UsageError(f"{where} = {value!r}", hint=f"{where} is {wanted}")
