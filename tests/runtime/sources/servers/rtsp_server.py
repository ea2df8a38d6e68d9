"""An RTSP camera of a moving ball, by GStreamer's RTSP server. Run by the system's Python, which has ``gi``.

Arguments: port, encoder. Prints ``ready``, and the address of each client's request.
Debian: gir1.2-gst-rtsp-server-1.0, python3-gi, and gstreamer1.0-plugins-ugly (x264enc) or -bad (openh264enc).
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PAYLOADS = {
    "x264enc": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96",
    "openh264enc": "openh264enc gop-size=15 ! rtph264pay name=pay0 pt=96",
}


class Factory(GstRtspServer.RTSPMediaFactory):
    def do_create_element(self, url: object) -> Gst.Element:
        source = "videotestsrc is-live=true pattern=ball ! video/x-raw, width=320, height=240, framerate=20/1"
        return Gst.parse_launch(f"( {source} ! videoconvert ! {PAYLOADS[sys.argv[2]]} )")


def told(client: GstRtspServer.RTSPClient, context: GstRtspServer.RTSPContext) -> None:
    print("asked", context.uri.get_request_uri(), flush=True)


Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = Factory()
factory.set_shared(True)
server.get_mount_points().add_factory("/cam", factory)
server.connect("client-connected", lambda _, client: client.connect("describe-request", told))
if server.attach(None) == 0:
    sys.exit(f"port {sys.argv[1]} is taken")
print("ready", flush=True)
GLib.MainLoop().run()
