"""Use a detector in a program of your own: no command line, no torch.

python examples/01_detect_in_your_program.py MODEL SOURCE

MODEL is `student`, an .onnx, .xml or .engine file, or a checkpoint folder. SOURCE is an image, a folder, a
video or a camera number.
"""

import argparse

from edgestill import open_detector, open_source


def main(model: str, source: str) -> None:
    """Print the detections in every frame, in pixels of that frame."""
    detector = open_detector(model, conf=0.4)
    for frame in open_source(source).frames():
        found = detector(frame.image_bgr)
        for box, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True):
            corners = " ".join(f"{value:.0f}" for value in box)
            print(f"{frame.index}: {detector.spec.classes[class_id]} {score:.2f} at {corners}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the detections in every frame.")
    parser.add_argument("model", help="student, an .onnx, .xml or .engine file, or a checkpoint folder")
    parser.add_argument("source", help="an image, a folder, a video or a camera number")
    args = parser.parse_args()
    main(args.model, args.source)
