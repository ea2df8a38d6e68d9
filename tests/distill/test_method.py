"""Maps of a network in its own format and in float32."""

from __future__ import annotations

import torch

from distill.method import NetworkOutputs


def test_float32_maps_are_made_when_they_are_asked_for_and_once() -> None:
    given = {"p3": torch.rand(1, 2, 4, 4).bfloat16(), "p4": torch.rand(1, 2, 2, 2).bfloat16()}
    view = NetworkOutputs(given, [torch.rand(1, 1, 4, 4, 6).bfloat16()]).in_float32()
    assert all(view.native[level] is given[level] for level in given)
    wide = view.features["p3"]
    assert wide.dtype == torch.float32
    assert view.features["p3"] is wide
    torch.testing.assert_close(wide, given["p3"].float(), rtol=0, atol=0)
    assert list(view.features) == ["p3", "p4"]
    assert len(view.features) == 2
    assert view.raw[0].dtype == torch.float32


def test_a_view_that_is_in_float32_is_its_own_native_form() -> None:
    view = NetworkOutputs({"p3": torch.rand(1, 2, 4, 4)}, [])
    assert view.native is view.features


def test_what_is_handed_to_the_next_image_is_the_native_form() -> None:
    maps = torch.arange(3.0).view(3, 1, 1, 1).bfloat16()
    moved = NetworkOutputs({"p3": maps}, []).rolled().in_float32()
    assert moved.native["p3"].dtype == torch.bfloat16
    assert moved.features["p3"].flatten().tolist() == [2.0, 0.0, 1.0]
