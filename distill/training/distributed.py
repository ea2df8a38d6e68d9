"""Data-parallel training: ``torchrun`` starts several processes, and each computes a part of every batch.

    torchrun --nproc-per-node 2 -m edgestill distill traffic-lights --data scenes/data.yaml

``recipe.batch`` is the global batch size, so a recipe gives the same training on any number of processes.
Three things are computed over the global batch: batch norm statistics (``convert_batch_norms``,
``sync_batch_norm``, ``sync_standardise``), the divisor of a loss (``denominator``) and the gradients
(``average_gradients``). Only the main process validates, writes files and logs. If a process fails, torchrun
ends the others.

``DistributedDataParallel`` is not used, because a recipe may switch a method off and leave its adapter
without gradients: it then needs ``find_unused_parameters``, which traverses the graph in every step and
prints a warning in every process. (Measured with two CPU processes: same losses and weights, bit for bit, and
the same time.)

Without torchrun every function here returns its input unchanged.
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

SEED_OFFSET = 7_368_787  # between the seeds of two processes
TIMEOUT = timedelta(hours=2)  # the other processes wait while the main process validates


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Initialise the process group if torchrun started this process; only the main process logs to stderr.

    Args:
        device: The recipe's ``device``.

    Raises:
        DeviceError: Communication failed, usually because another process ended.
    """
    if not _is_launched():
        yield
        return
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(timeout=TIMEOUT)  # gloo for tensors on the CPU, nccl for those on GPUs
    with (
        Path(os.devnull).open("w", encoding="utf-8") as silent,
        redirect_stderr(sys.stderr if is_main_process() else silent),
    ):
        try:
            yield
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise DeviceError(
                f"process {rank()} of {world_size()} lost the connection to the others: {error}",
                hint="if another process failed, its message gives the reason; --resume continues the run",
            ) from error
    dist.destroy_process_group()


def world_size() -> int:
    """Number of processes; 1 without torchrun."""
    return dist.get_world_size() if _is_initialized() else 1


def rank() -> int:
    """Index of this process, from 0."""
    return dist.get_rank() if _is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process writes files and logs; also valid outside of ``process_group``."""
    return not _is_launched() or os.environ["RANK"] == "0"


def all_reduce_mean(values: Tensor) -> Tensor:
    """Mean over the processes of a tensor that has the same shape in each; differentiable."""
    return _AllReduceMean.apply(values) if _is_initialized() else values


def denominator(count: Tensor, least: float = 1.0) -> Tensor:
    """Divisor that turns a loss summed over this process's images into a mean over the global batch.

    It is a collective operation: every process must call it equally often, whatever its images contain.

    Args:
        count: Number of summed items in this process, e.g. objects; detached.
        least: Lower bound of the count over all processes, which avoids a division by 0.
    """
    return all_reduce_mean(count.detach()).clamp(min=least / world_size())


def sync_batch_norm(maps: Tensor, eps: float) -> Tensor:
    """Normalise each channel of ``[B, C, h, w]`` to mean 0 and variance 1 over the global batch."""
    if not _is_initialized():
        return F.batch_norm(maps, None, None, training=True, eps=eps)
    centred, _, variance = _centre(maps)
    return centred * torch.rsqrt(variance + eps)


def sync_standardise(maps: Tensor, eps: float) -> Tensor:
    """Centre each channel of ``[B, C, h, w]`` and divide it by its unbiased deviation plus ``eps``.

    Mean and deviation are those of the global batch. A constant channel becomes 0.
    """
    centred, _, variance = _centre(maps)
    count = world_size() * maps[:, 0].numel()
    unbiased = variance * (count / max(count - 1, 1))
    # The derivative of a square root is infinite at 0; torch.std defines it as 0 there.
    deviation = torch.where(unbiased > 0, unbiased, 1.0).sqrt() * (unbiased > 0)
    return centred / (deviation + eps)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; a missing gradient counts as zero.

    One all-reduce of the concatenated gradients after the backward pass (28 MB for YOLOv5s). No process has
    to know in advance which parameters the methods of an epoch use.
    """
    if not _is_initialized():
        return
    used = [p for p in parameters if p.requires_grad]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in used if p.grad is not None]
    flat = _average_(torch.cat([g.flatten() for g in gradients]))
    for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


def convert_batch_norms(model: nn.Module) -> None:
    """Replace batch norms by ones with statistics over the global batch; state-dict names are kept."""
    if not _is_initialized():
        return
    if any(p.is_cuda for p in model.parameters()):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _SyncBatchNorm2d.of(child))


def broadcast_state(*modules: nn.Module) -> None:
    """Copy parameters and buffers of process 0 to all processes, then give each its own random seed."""
    if not _is_initialized():
        return
    for module in modules:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
    if rank():
        torch.manual_seed(torch.initial_seed() + SEED_OFFSET * rank())


def broadcast_bool(decision: bool) -> bool:
    """The decision of the main process, in every process."""
    if not _is_initialized():
        return decision
    value = torch.tensor([decision])
    dist.broadcast(value, 0)
    return bool(value)


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if _is_initialized():
        dist.barrier()


def all_gather(values: Tensor) -> list[Tensor]:
    """A CPU tensor of the same shape in each process, gathered in the order of the ranks."""
    if not _is_initialized():
        return [values]
    found = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(found, values)
    return found


class _SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the global batch on a CPU; ``nn.SyncBatchNorm`` runs on GPUs only."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> _SyncBatchNorm2d:
        """Copy of a batch norm with its settings, weights and statistics."""
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
        """Normalise ``[B, C, h, w]``; the result has the same shape and dtype."""
        if not self.training:
            return super().forward(x)
        centred, centre, variance = _centre(x.float())
        if self.track_running_stats:
            self._update_running_stats(
                centre.flatten(), variance.flatten(), x.numel() // x.shape[1] * world_size()
            )
        out = centred * torch.rsqrt(variance + self.eps)
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)

    @torch.no_grad()
    def _update_running_stats(self, centre: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics; as in torch, the running variance is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(centre, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class _AllReduceMean(torch.autograd.Function):
    """Mean over the processes; the backward pass averages the gradients too."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        """Mean of the values."""
        return _average_(values.clone())

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        """Mean of the gradients."""
        return _average_(gradients[0].clone())


def _centre(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centred maps, mean and variance, by channel over the global batch."""
    centre = all_reduce_mean(maps.mean((0, 2, 3), keepdim=True))
    centred = maps - centre
    return centred, centre, all_reduce_mean(centred.square().mean((0, 2, 3), keepdim=True))


def _average_(values: Tensor) -> Tensor:
    """Mean over the processes, in place."""
    values = values.contiguous()
    dist.all_reduce(values)
    return values.div_(world_size())


def _is_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return dist.is_available() and dist.is_torchelastic_launched() and os.environ["WORLD_SIZE"] != "1"


def _is_initialized() -> bool:
    """Whether the process group is initialised."""
    return dist.is_available() and dist.is_initialized()
