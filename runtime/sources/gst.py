"""A GStreamer pipeline: ``--source 'gst://v4l2src ! videoconvert'``, up to raw video."""

from __future__ import annotations

from edgestill.errors import UsageError
from runtime.decoders import gst_pipelines, path_choice
from runtime.sources._address import Address
from runtime.sources._live import LiveSource
from runtime.sources._reading import Reading

SHOWN_CHARS = 60


def open_frames(address: Address, reading: Reading) -> LiveSource:
    """Run a pipeline; it is taken for a camera, so frames that come too fast are dropped.

    Raises:
        UsageError: It is empty.
        DeviceError: GStreamer or an element is missing, or the pipeline does not start.
    """
    if not address.target:
        raise UsageError("gst:// has no pipeline", hint="e.g. --source 'gst://videotestsrc is-live=true'")
    if reading.decoder not in {None, path_choice.GSTREAMER}:
        raise UsageError(f"--decoder {reading.decoder} does not read gst://", hint="leave --decoder away")
    pipeline = gst_pipelines.custom(address.target)
    shown = address.shown if len(address.shown) <= SHOWN_CHARS else f"{address.shown[:SHOWN_CHARS]}..."
    return LiveSource(
        lambda: path_choice.open_pipeline(pipeline, shown, is_live=True), shown, retry=reading.retry
    )
