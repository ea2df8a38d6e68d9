"""Raw maps taken apart: what each column is, and boxes that agree with the head's own decoding."""

import torch

from distill.method import NetworkOutputs
from distill.models.head_outputs import boxes_px, confidence, split_columns
from distill.models.yolov5 import build
from edgestill.boxes import cxcywh_to_xyxy
from edgestill.spec import COCO_ANCHORS_PX

NC = 3


def test_the_columns_of_an_anchor_head() -> None:
    level = torch.arange(8.0).view(1, 1, 1, 1, 8)
    for head in ("coupled", "decoupled"):
        part = split_columns(level, head)
        assert part.box is not None
        assert part.obj is not None
        assert (part.box.flatten().tolist(), part.obj.item()) == ([0, 1, 2, 3], 4)
        assert part.cls.flatten().tolist() == [5, 6, 7]


def test_the_columns_of_an_anchor_free_head_and_of_class_logits_alone() -> None:
    level = torch.arange(67.0).view(1, 1, 1, 1, 67)
    part = split_columns(level, "dfl")
    assert part.box is not None
    assert part.obj is None
    assert part.box.shape[-1] == 64
    assert part.cls.flatten().tolist() == [64, 65, 66]
    alone = split_columns(level, None)
    assert alone.box is None
    assert alone.cls is level


def test_boxes_are_those_that_the_anchor_head_decodes() -> None:
    model = build("n", NC)
    torch.manual_seed(0)
    raw = [torch.randn(2, 3, 64 // s, 96 // s, 5 + NC) for s in model.strides]
    own = [
        boxes_px(level, "coupled", stride, anchors).reshape(2, -1, 4)
        for level, stride, anchors in zip(raw, model.strides, COCO_ANCHORS_PX, strict=True)
    ]
    wanted = cxcywh_to_xyxy(model.decode(raw)[..., :4].numpy())
    torch.testing.assert_close(torch.cat(own, 1), torch.from_numpy(wanted), atol=1e-3, rtol=1e-5)


def test_boxes_of_an_anchor_free_head_reach_from_the_cells_centre() -> None:
    level = torch.full((1, 1, 2, 3, 64 + NC), -40.0)
    for side, bin_ in enumerate((1, 0, 3, 2)):  # left, top, right, bottom, in cells
        level[..., side * 16 + bin_] = 40
    box = boxes_px(level, "dfl", 8)[0, 0, 1, 2]  # centre (20, 12)
    torch.testing.assert_close(box, torch.tensor([12.0, 12.0, 44.0, 28.0]))


def test_confidence_is_the_best_class_of_the_best_anchor_times_its_objectness() -> None:
    level = torch.full((1, 2, 1, 1, 8), -30.0)
    level[0, 0, 0, 0, 4:] = torch.tensor([0.0, 30, -30, -30])  # objectness 1/2, class 1
    level[0, 1, 0, 0, 4:] = torch.tensor([30.0, -1, -30, -30])  # objectness 1, class 0.27
    (score,) = confidence(NetworkOutputs({}, [level]))
    torch.testing.assert_close(score, torch.tensor([[[0.5]]]))
    (score,) = confidence(NetworkOutputs({}, [level[..., 5:]], None))
    torch.testing.assert_close(score, torch.tensor([[[1.0]]]))
