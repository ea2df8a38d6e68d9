"""The first batches of a training, as the measurements of this folder take them."""

from __future__ import annotations

from itertools import count, islice

from distill.data.loader import Batch, Batches
from distill.data.training_images import TrainingImages
from distill.training.setup import TrainingRun


def first_batches(run: TrainingRun, images: TrainingImages, number: int) -> list[Batch]:
    """The first batches of a training; beyond the first epoch, those of the next ones.

    Args:
        run: The training.
        images: Its images.
        number: How many batches.
    """
    recipe = run.recipe
    batches = Batches(
        images,
        run.spec.resized(recipe.train_hw),
        recipe.augment,
        batch=recipe.batch,
        seed=recipe.seed,
        threads=recipe.loader_threads,
    )
    with batches:
        return list(islice((batch for epoch in count() for batch in batches.epoch(epoch)), number))
