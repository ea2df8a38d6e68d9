"""Watch cameras and videos in a program of your own: objects with identities, and lights with states.

python examples/02_watch_sources.py MODEL SOURCE...

MODEL is `student`, an .onnx, .xml or .engine file, or a checkpoint folder. SOURCE is as `--source` of
`edgestill run`: csi://0, rtsp://..., a camera number, a video, an image, a folder. Ctrl-C ends it.
"""

import argparse
from contextlib import suppress

import edgestill


def main(model: str, sources: list[str]) -> None:
    """Print each light, or other object, when its state is new."""
    states: dict[tuple[str, int], str] = {}
    with edgestill.watch(*sources, model=model) as results, suppress(KeyboardInterrupt):
        for result in results:
            for found in result.found():
                state = found.state or found.name
                if found.track_id is None or states.get((result.source, found.track_id)) == state:
                    continue
                states[result.source, found.track_id] = state
                print(f"{result.source} {result.frame.time_s:.2f} s: #{found.track_id} is {state}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print what is found when it is new.")
    parser.add_argument("model", help="student, an .onnx, .xml or .engine file, or a checkpoint folder")
    parser.add_argument("sources", nargs="+", help="cameras, videos, images or folders")
    args = parser.parse_args()
    main(args.model, args.sources)
