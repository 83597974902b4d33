"""ONNX files: looked over, converted and compared with ONNX Runtime, in a process of its own."""
