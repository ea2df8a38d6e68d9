"""A ROS 2 node that publishes the detections of cameras.

python examples/03_ros2_node.py --ros-args -p model:=student -p 'sources:=["csi://0"]'

**It has not been run**: neither ROS 2 nor a camera was at hand. It is written for ROS 2 Humble, which is for
the Python 3.10 of JetPack 6. A virtual environment made with --system-site-packages sees both rclpy and
edgestill. Needed beside ROS 2: the package ros-humble-vision-msgs.

Each frame becomes a vision_msgs/Detection2DArray on the topic `detections`, with the time of its capture and
the short name of its source as frame_id. The class of a detection is its class or, for lights, its state.
"""

from contextlib import suppress

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

import edgestill


class Detections(Node):
    """Publishes results; its parameters are `model` and `sources`."""

    def __init__(self) -> None:
        super().__init__("edgestill")
        self.model = self.declare_parameter("model", "student").value
        self.sources = self.declare_parameter("sources", ["csi://0"]).value
        self._publisher = self.create_publisher(Detection2DArray, "detections", 10)

    def publish(self, result: edgestill.FrameResult) -> None:
        """Publish the detections of one frame."""
        message = Detection2DArray()
        captured = self.get_clock().now() - Duration(nanoseconds=int(result.age_ms * 1e6))
        message.header.stamp = captured.to_msg()
        message.header.frame_id = result.source
        for found in result.found():
            x0, y0, x1, y1 = found.box
            one = Detection2D(header=message.header)
            one.id = "" if found.track_id is None else str(found.track_id)
            one.bbox.center.position.x, one.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
            one.bbox.size_x, one.bbox.size_y = x1 - x0, y1 - y0
            hypothesis = ObjectHypothesisWithPose()
            hypothesis.hypothesis.class_id = found.state or found.name
            hypothesis.hypothesis.score = found.score
            one.results.append(hypothesis)
            message.detections.append(one)
        self._publisher.publish(message)


def main() -> None:
    """Publish until ROS shuts down or Ctrl-C; the cameras are then closed."""
    rclpy.init()
    node = Detections()
    with suppress(KeyboardInterrupt), edgestill.watch(*node.sources, model=node.model) as results:
        for result in results:
            if not rclpy.ok():
                break
            node.publish(result)
            rclpy.spin_once(node, timeout_sec=0)  # parameters and services
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
