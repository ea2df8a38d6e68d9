"""How fast a distillation trains here and in the ``ultralytics`` package: the same pair, images and batch.

    python -m venv peer && peer/bin/pip install torch torchvision ultralytics
    python -m distill.profiling.against_ultralytics --peer-python peer/bin/python --data DATA.yaml

A YOLOv5u learns from a larger one, from random weights on both sides (the speed does not depend on them).
The package distils in an environment of its own, with every setting at its default but the size, the batch
and the epochs; mosaic stays on, as in all but the last ten epochs of a training there. Ours is
``edgestill distill`` with the package's own method, ``score_l2``, on the same images, with mosaic as often.

Each training is a process of its own, one after the other, and all of them again in every round: what slows
the machine down for a while slows all. Epochs after the first count, without validation.
"""
