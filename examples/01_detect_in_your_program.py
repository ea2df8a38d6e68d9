"""Use a detector in a program of your own: no command line, no torch.

python examples/01_detect_in_your_program.py MODEL.onnx SOURCE

SOURCE is an image, a folder, a video or a camera number.
"""

import sys
from contextlib import closing
from pathlib import Path

from edgestill import open_detector, open_source


def main(model: str, source: str) -> None:
    """Print what is in every frame, in pixels of that frame."""
    with closing(open_detector(Path(model), conf=0.4)) as detector, closing(open_source(source)) as frames:
        for frame in frames.frames():
            found = detector(frame.image_bgr)
            for box, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True):
                corners = " ".join(f"{value:.0f}" for value in box)
                print(f"{frame.index}: {detector.spec.classes[class_id]} {score:.2f} at {corners}")


if __name__ == "__main__":
    main(*sys.argv[1:])
