"""The text of ``--source``: kinds, options, what is the camera's, and what must not be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.errors import UsageError
from runtime.decoders.redaction import without_secrets
from runtime.sources._address import OPTIONS_OF, Options, parse_address


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("street.jpg", "images", "street.jpg"),
        ("frames/*.png", "images", "frames/*.png"),
        ("drive.mp4", "video", "drive.mp4"),
        ("what?.mp4", "images", "what?.mp4"),
        ("0", "webcam", "0"),
        ("12?width=640&height=480", "webcam", "12"),
        ("v4l2:///dev/video2", "v4l2", "/dev/video2"),
        ("csi://1?fps=60", "csi", "1"),
        ("rtsp://cam/live", "rtsp", "rtsp://cam/live"),
        ("RTSP://cam/live", "rtsp", "RTSP://cam/live"),
        ("http://cam/video.mjpg", "http", "http://cam/video.mjpg"),
        ("https://cam/video.mjpg", "http", "https://cam/video.mjpg"),
        ("gst://videotestsrc ! videoconvert", "gst", "videotestsrc ! videoconvert"),
    ],
)
def test_the_kind_follows_from_the_text(text: str, kind: str, target: str) -> None:
    address = parse_address(text)
    assert (address.kind, address.target) == (kind, target)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("0?width=1280&height=720", Options(width=1280, height=720)),
        ("v4l2:///dev/video0?fps=29.97&format=mjpg", Options(fps=29.97, format="MJPG")),
        ("csi://0?width=1920&height=1080&fps=30&flip=2", Options(width=1920, height=1080, fps=30, flip=2)),
        ("rtsp://cam/x?latency=0&transport=UDP", Options(latency_ms=0, transport="udp")),
        ("rtsp://cam/x", Options()),
    ],
)
def test_options_are_read(text: str, options: Options) -> None:
    assert parse_address(text).options == options


@pytest.mark.parametrize(
    ("text", "target", "latency_ms"),
    [
        ("rtsp://cam/x?channel=1&subtype=0", "rtsp://cam/x?channel=1&subtype=0", None),
        ("rtsp://cam/x?channel=1&latency=50&subtype=0", "rtsp://cam/x?channel=1&subtype=0", 50),
        ("rtsp://cam/x?latency=50", "rtsp://cam/x", 50),
        # As it was written: neither decoded nor sorted
        ("rtsp://cam/x?b=%2Fa+c&a=&b", "rtsp://cam/x?b=%2Fa+c&a=&b", None),
        # Behind a # are the options, and the query is the camera's
        ("rtsp://cam/x?latency=7#latency=50", "rtsp://cam/x?latency=7", 50),
        ("rtsp://cam/x?latency=7#", "rtsp://cam/x?latency=7", None),
        ("http://cam/x?width=640&fps=5", "http://cam/x?width=640&fps=5", None),
    ],
)
def test_the_cameras_part_of_a_query_reaches_it(text: str, target: str, latency_ms: int | None) -> None:
    address = parse_address(text)
    assert (address.target, address.options.latency_ms) == (target, latency_ms)


@given(st.lists(st.text("abcxyz%=+.~-_/:@", min_size=1), min_size=1))
def test_any_query_without_our_names_is_untouched(pieces: list[str]) -> None:
    url = f"rtsp://cam/x?{'&'.join(pieces)}"
    assert parse_address(url).target == url


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("csi://0?widthh=640", "csi://0 has no option 'widthh'", "did you mean 'width'?"),
        (
            "csi://0?format=MJPG",
            "csi://0 has no option 'format'",
            "another kind of source; its options are width",
        ),
        ("csi://0?zoom=2", "csi://0 has no option 'zoom'", "its options are width, height, fps, flip"),
        ("0?latency=5", "camera 0 has no option 'latency'", "another kind"),
        ("rtsp://cam/x#latncy=5", "has no option 'latncy'", "did you mean 'latency'?"),
        ("http://cam/x#fps=5", "has no option 'fps'", "its options are flip"),
        ("0?width=640", "width and height go together", "?width=1280&height=720"),
        ("0?width=0&height=9", "width=0 is no value", "from 1 to 16384"),
        ("0?width=1e3&height=9", "width=1e3 is no value", "whole number"),
        ("0?width=٣&height=9", "is no value", "whole number"),
        ("0?fps=0", "fps=0 is no value", "frames per second"),
        ("0?fps=fast", "fps=fast is no value", "frames per second"),
        ("0?format=MJPEG", "format=MJPEG is no value", "MJPG or YUYV"),
        ("0?flip=8", "flip=8 is no value", "from 0 to 7"),
        ("0?fps=5&fps=6", "fps is given twice", "once"),
        ("rtsp://cam/x?transport=quic", "transport=quic is no value", "tcp or udp"),
        ("rtsp://cam/x?latency=-1", "latency=-1 is no value", "from 0 to 60000"),
        ("rstp://cam/x", "no frame source reads rstp://", "did you mean rtsp://?"),
        ("ftp://cam/x", "no frame source reads ftp://", "csi://N"),
        ("gst://a\0b", "holds a NUL character", "leave it out"),
        ("webcam://0", "no frame source reads webcam://", "a camera number"),
    ],
)
def test_a_bad_option_is_a_usage_error(text: str, what: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_every_option_is_of_some_kind() -> None:
    names = {"latency_ms" if name == "latency" else name for of in OPTIONS_OF.values() for name in of}
    assert names == set(Options.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:hidden@cam:554/x", "rtsp://cam:554/x"),
        ("rtsp://me:hid@den@cam/x", "rtsp://cam/x"),
        ("rtsp://me:hid/den@cam/x", "rtsp://cam/x"),
        ("rtsp://me@cam/x", "rtsp://cam/x"),
        ("rtsp://cam:554/axis@1/x", "rtsp://cam:554/axis@1/x"),
        ("rtsp://[fe80::1]:554/a@1", "rtsp://[fe80::1]:554/a@1"),
        ("http://cam/x?user=me&password=hidden&n=1", "http://cam/x?user=me&password=***&n=1"),
        ("http://cam/x?pwd=hidden#flip=2", "http://cam/x?pwd=***#flip=2"),
        ("http://cam/x?access_token=hidden", "http://cam/x?access_token=***"),
        ("rtsp://cam/user=me_password=hidden_channel=1/x", "rtsp://cam/user=me_password=***/x"),
        (
            "gst://rtspsrc location=rtsp://me:hidden@cam/x user-pw=hidden ! y",
            "gst://rtspsrc location=rtsp://cam/x user-pw=*** ! y",
        ),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert "hidden" not in parse_address(text).shown


def test_a_password_is_not_in_the_message_about_an_option() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address("rtsp://me:hidden@cam/x?password=hidden#latncy=5")
    assert "hidden" not in str(caught.value)
