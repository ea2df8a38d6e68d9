"""One training in several processes, which ``torchrun`` starts: each computes its part of every batch.

    torchrun --nproc-per-node 2 -m edgestill distill traffic-lights --data scenes/data.yaml

``recipe.batch`` counts the images of all processes together, so that a recipe means the same on any number of
them. What a single process would compute over its batch is computed over all parts: statistics of batch norms
(``join_batch_norms``, ``batch_norm``), what a loss is divided by (``denominator``), the gradients
(``average_gradients``). The first process alone validates, writes and speaks. A process that ends with an
error takes the others with it: torchrun sees to that.

Without torchrun every function here gives back what it is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from edgestill.errors import DeviceError

OWN_STREAM = 7_368_787  # between the seeds of two processes
PATIENCE = timedelta(hours=2)  # the others wait that long while the first validates


@contextmanager
def group(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, where it did; all but the first keep silent meanwhile.

    Args:
        device: The recipe's ``device``.

    Raises:
        DeviceError: Another process has ended.
    """
    if not _launched():
        yield
        return
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(timeout=PATIENCE)  # gloo for tensors on the CPU, nccl for those on GPUs
    with (
        Path(os.devnull).open("w", encoding="utf-8") as silent,
        redirect_stderr(sys.stderr if is_first() else silent),
    ):
        try:
            yield
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise DeviceError(
                f"process {rank()} of {processes()} cannot go on: {error}",
                hint="if another process has ended, its message says why; --resume goes on",
            ) from error
    dist.destroy_process_group()


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this is, counted from 0."""
    return dist.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this is the process that writes and speaks; known outside of ``group`` too."""
    return not _launched() or os.environ["RANK"] == "0"


def mean(values: Tensor) -> Tensor:
    """Mean over the processes of a tensor of the same shape in each; differentiable."""
    return _Mean.apply(values) if _together() else values


def denominator(count: Tensor, least: float = 1.0) -> Tensor:
    """What a loss that is a sum over this process's images is divided by to become a mean over all images.

    Every process must call it as often as the others, whatever its images show.

    Args:
        count: How much the sum is over in this process, e.g. objects; no gradient goes there.
        least: What a batch counts as at least, summed over all processes, so that none divides by 0.
    """
    return mean(count.detach()).clamp(min=least / processes())


def batch_norm(maps: Tensor, eps: float) -> Tensor:
    """Every channel of ``[B, C, h, w]`` to mean 0 and variance 1 over all images and cells."""
    if not _together():
        return F.batch_norm(maps, None, None, training=True, eps=eps)
    centred, _, variance = _centre(maps)
    return centred * torch.rsqrt(variance + eps)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients.

    In one piece after the backward pass: that of YOLOv5s, 28 MB, is no longer than a handful of small ones,
    and no process needs to know beforehand which parameters an epoch's methods use.
    """
    if not _together():
        return
    used = [p for p in parameters if p.requires_grad]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in used if p.grad is not None]
    flat = _average(torch.cat([g.flatten() for g in gradients]))
    for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


def join_batch_norms(model: nn.Module) -> None:
    """Make the batch norms inside of a network see the images of all processes; names of weights stay."""
    if not _together():
        return
    if any(p.is_cuda for p in model.parameters()):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _JoinedBatchNorm.of(child))


def begin_alike(*modules: nn.Module) -> None:
    """Give every process the weights and buffers of the first, and random numbers of its own from here on."""
    if not _together():
        return
    for module in modules:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
    if rank():
        torch.manual_seed(torch.initial_seed() + OWN_STREAM * rank())


def word_of_first(decision: bool) -> bool:
    """What the first process decided; all wait for it."""
    if not _together():
        return decision
    said = torch.tensor([decision])
    dist.broadcast(said, 0)
    return bool(said)


def wait() -> None:
    """Until all processes are here."""
    if _together():
        dist.barrier()


def from_all(values: Tensor) -> list[Tensor]:
    """A tensor on the CPU, of the same shape in each process, from all of them in order."""
    if not _together():
        return [values]
    found = [torch.empty_like(values) for _ in range(processes())]
    dist.all_gather(found, values)
    return found


class _JoinedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the images of all processes, for the CPU; torch has one for GPUs alone."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> _JoinedBatchNorm:
        """One with the settings, weights and statistics of another."""
        joined = cls(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
        )
        joined.load_state_dict(norm.state_dict())
        return joined.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, h, w]`` to the same shape and type."""
        if not self.training:
            return super().forward(x)
        centred, centre, variance = _centre(x.float())
        if self.track_running_stats:
            self._remember(centre.flatten(), variance.flatten(), x.numel() // x.shape[1] * processes())
        out = centred * torch.rsqrt(variance + self.eps)
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)

    @torch.no_grad()
    def _remember(self, centre: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics; the variance is kept as an unbiased one, as torch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(centre, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class _Mean(torch.autograd.Function):
    """Mean over the processes; the gradient of a process's share is the mean of all gradients."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        """Average."""
        return _average(values.clone())

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        """Average too."""
        return _average(gradients[0].clone())


def _centre(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps less their mean, the mean and the variance, each by channel over all processes."""
    centre = mean(maps.mean((0, 2, 3), keepdim=True))
    centred = maps - centre
    return centred, centre, mean(centred.square().mean((0, 2, 3), keepdim=True))


def _average(values: Tensor) -> Tensor:
    """Mean over the processes, in place."""
    values = values.contiguous()
    dist.all_reduce(values)
    return values.div_(processes())


def _launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return dist.is_available() and dist.is_torchelastic_launched() and os.environ["WORLD_SIZE"] != "1"


def _together() -> bool:
    """Whether the processes have met."""
    return dist.is_available() and dist.is_initialized()
