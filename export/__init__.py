"""Files that a device can run: ONNX, OpenVINO; calibration, quantisation, verification. Free of torch."""
