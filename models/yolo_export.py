"""Turning PyTorch weights of YOLO models into ONNX with Ultralytics' own exporter; needs the extra ``train``."""

import shutil
import sys
import tempfile
import types
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

GRID_PX = 32  # an input side is a multiple of the coarsest grid


def stub_torchvision() -> None:
    """Put a stand-in for torchvision where Ultralytics looks for it.

    The CPU build of torch and the torchvision of the package index do not fit each other: ``import torchvision`` fails
    with "operator torchvision::nms does not exist". Ultralytics needs only that one operator and has its own. A
    torchvision that works is left alone.
    """
    if "torchvision" in sys.modules:
        return
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
            del sys.modules[name]
    else:
        return
    stub, ops, transforms = (types.ModuleType(f"torchvision{part}") for part in ("", ".ops", ".transforms"))
    for module in (stub, ops, transforms):
        module.__spec__ = ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module
    vars(stub).update(ops=ops, transforms=transforms, __version__="0.28.0", __path__=[])
    vars(ops).update(nms=import_module("ultralytics.utils.nms").TorchNMS.nms)


def export_yolo(weights: Path, target: Path, input_wh: tuple[int, int]) -> None:
    """Write a YOLO model as ONNX: float input (1, 3, h, w), RGB 0..1, with class names in the metadata.

    Loading PyTorch weights can run what is in the file: export only weights whose origin is known.

    Args:
        weights: The ``.pt`` file, as Ultralytics makes them.
        target: The ONNX file to write.
        input_wh: Width and height of the input, pixels, multiples of 32.

    Raises:
        ValueError: The extra is not installed, the size does not fit, or the file holds no YOLO model.
        OSError: A file cannot be read or written.
    """
    if any(side < GRID_PX or side % GRID_PX for side in input_wh):
        raise ValueError(f"input size: expected multiples of {GRID_PX} pixels, got {input_wh[0]}x{input_wh[1]}")
    if find_spec("ultralytics") is None or find_spec("torch") is None:
        raise ValueError("exporting needs PyTorch and Ultralytics: pip install 'tillfree[train]'")
    if weights.suffix != ".pt":
        raise ValueError(f"{weights}: expected PyTorch weights (.pt)")
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: there is no such file")
    stub_torchvision()
    ultralytics = import_module("ultralytics")
    with tempfile.TemporaryDirectory(prefix="tillfree-") as folder:
        # The exporter writes beside the weights, which may lie where nobody may write.
        copy = Path(folder) / "model.pt"
        shutil.copyfile(weights, copy)
        try:
            made = ultralytics.YOLO(str(copy)).export(
                format="onnx", imgsz=[input_wh[1], input_wh[0]], opset=17, simplify=False, device="cpu", verbose=False
            )
        except Exception as error:  # torch's and Ultralytics' errors share no narrower base
            raise ValueError(f"{weights}: cannot be exported: {' '.join(str(error).split())[:200]}") from error
        shutil.copyfile(made, target)
