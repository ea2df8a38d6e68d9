"""Texts of GStreamer pipelines, up to raw BGR frames. Nothing here starts anything.

Source: NVIDIA's Accelerated GStreamer guide for Jetson Linux; the chains are those of JetsonHacks' CSI camera
and of jetson-utils. No chain with an element of NVIDIA has been run: that needs a Jetson.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Colour conversion on a Jetson: the VIC copies out of device memory, only the last step is the CPU's.
OUT_OF_NVMM = "nvvidconv ! video/x-raw, format=BGRx ! videoconvert"
BGR = "video/x-raw, format=BGR"
TO_BGR = f"videoconvert ! {BGR}"
NV_DECODER = "nvv4l2decoder enable-max-performance=1"
#: Keeps the newest frame while the one before is being written.
NEWEST = "queue leaky=downstream max-size-buffers=1"
JPEG = "MJPG"
#: GStreamer's names of V4L2's raw formats.
RAW_FORMATS = {"YUYV": "YUY2", "UYVY": "UYVY", "NV12": "NV12"}
_TOKEN = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+')
_ELEMENT = re.compile(r"[A-Za-z][\w-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """Size and rate of a camera.

    Attributes:
        width: Pixels.
        height: Pixels.
        fps: Frames per second; None for what the camera chooses.
    """

    width: int
    height: int
    fps: float | None

    @property
    def caps(self) -> str:
        """The three as GStreamer's caps."""
        rate = "" if self.fps is None else f", framerate=(fraction){_fraction(self.fps)}"
        return f"width=(int){self.width}, height=(int){self.height}{rate}"


def csi(sensor: int, mode: Mode, flip: int) -> str:
    """A camera sensor of a Jetson, through the image signal processor."""
    method = f" flip-method={flip}" if flip else ""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM), {mode.caps}"
        f" ! nvvidconv{method} ! video/x-raw, format=(string)BGRx ! {TO_BGR}"
    )


def v4l2(device: str, mode: Mode | None, pixels: str | None, *, on_jetson: bool) -> str:
    """A USB camera.

    Args:
        device: Its device file.
        mode: Its size; None for what the camera chooses.
        pixels: ``"MJPG"`` for JPEG, which the hardware of a Jetson decodes, or a key of ``RAW_FORMATS``; None
            for raw video of any format.
        on_jetson: Whether there is that hardware.
    """
    start = f"v4l2src device={quoted(device)} do-timestamp=true"
    size = f", {mode.caps}" if mode else ""
    if pixels == JPEG:
        decoder = f"nvv4l2decoder mjpeg=1 enable-max-performance=1 ! {OUT_OF_NVMM} ! {BGR}"
        return f"{start} ! image/jpeg{size} ! jpegparse ! {decoder if on_jetson else f'jpegdec ! {TO_BGR}'}"
    raw = f", format={RAW_FORMATS[pixels]}" if pixels else ""
    return f"{start} ! video/x-raw{raw}{size} ! {TO_BGR}"


def rtsp(url: str, *, latency_ms: int, transport: str, on_jetson: bool) -> str:
    """A network camera, H.264 or H.265."""
    return (
        f"rtspsrc location={quoted(url)} latency={latency_ms} drop-on-latency=true protocols={transport}"
        f" ! application/x-rtp, media=video ! queue ! {_decoded(on_jetson=on_jetson)}"
    )


def file(path: str, *, on_jetson: bool) -> str:
    """A video file."""
    return f"filesrc location={quoted(path)} ! {_decoded(on_jetson=on_jetson)}"


def custom(pipeline: str) -> str:
    """A user's pipeline up to raw video; an ``appsink`` at its end, as for OpenCV, is taken off."""
    without_sink = re.sub(r"!\s*appsink\b[^!]*$", "", pipeline).strip().rstrip("!").strip()
    return f"{without_sink} ! {TO_BGR}"


def for_opencv(pipeline: str, *, is_live: bool) -> str:
    """The pipeline for ``cv2.VideoCapture``; of a file every frame, of a camera the newest."""
    return f"{pipeline} ! appsink {'drop=1 max-buffers=1 ' if is_live else ''}sync=false"


def for_child(pipeline: str, descriptor: int, *, is_live: bool) -> list[str]:
    """Arguments of ``gst-launch-1.0``: frames go to a file descriptor, and a line for each to stdout."""
    queue = f" ! {NEWEST}" if is_live else ""
    text = f"{pipeline}{queue} ! identity name=stamps silent=false ! fdsink fd={descriptor} sync=false"
    return ["-v", *_TOKEN.findall(text)]


def elements(pipeline: str) -> list[str]:
    """Names of the elements of a pipeline, in order, each once."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', pipeline)
    first = (words[0] for part in bare.split("!") if (words := part.split()))
    return list(dict.fromkeys(word for word in first if _ELEMENT.fullmatch(word)))


def quoted(value: str) -> str:
    """A value as the text of a pipeline has it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _decoded(*, on_jetson: bool) -> str:
    if on_jetson:
        return f"parsebin ! {NV_DECODER} ! {OUT_OF_NVMM} ! {BGR}"
    return f"decodebin ! {TO_BGR}"


def _fraction(fps: float) -> str:
    return f"{round(fps)}/1" if float(fps).is_integer() else f"{round(fps * 1000)}/1000"
