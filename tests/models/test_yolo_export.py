from importlib import import_module
from pathlib import Path

import pytest

from models.yolo_export import export_yolo, stub_torchvision
from vision.detector import Head, load_detector


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected multiples of 32 pixels, got 640x360"):
        export_yolo(tmp_path / "m.pt", tmp_path / "m.onnx", (640, 360))
    pytest.importorskip("ultralytics")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        export_yolo(tmp_path / "m.pt", tmp_path / "m.onnx", (640, 384))
    (tmp_path / "m.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be exported"):
        export_yolo(tmp_path / "m.pt", tmp_path / "m.onnx", (640, 384))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's exporter has warnings of its own
def test_pytorch_weights_become_a_model_that_can_be_loaded(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    stub_torchvision()
    model = import_module("ultralytics").YOLO("yolo11n-pose.yaml", verbose=False)
    model.save(tmp_path / "m.pt")
    export_yolo(tmp_path / "m.pt", tmp_path / "m.onnx", (96, 64))
    detector = load_detector(tmp_path / "m.onnx", threads=1, providers="cpu")
    assert (detector.head, detector.input_wh) == (Head.YOLO_POSE, (96, 64))
