"""From trained weights to the files that are shipped: ONNX, and ONNX in eight bits."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from models.train_networks import JointsExport, JointsNetwork, PeopleExport, PeopleNetwork
from models.train_pictures import JOINTS_WH
from vision.arrays import ImageArray
from vision.top_down import TASK as JOINTS_TASK

PEOPLE_WH = (640, 384)
"""Input of the detector: 640x360 cameras, padded to a multiple of 32."""
ONE_PERSON_OVERLAP = 0.55
"""Overlap above which two boxes are one person: best average precision of 0.45 to 0.7 on shops of the training."""
OPSET = 17
_INPUT, _OUTPUT = "images", "found"

_log = logging.getLogger(__name__)


def export_people(network: PeopleNetwork, file: Path) -> None:
    """Write the detector.

    Raises:
        OSError: The file cannot be written.
    """
    example = torch.zeros(1, PEOPLE_WH[1], PEOPLE_WH[0], 3, dtype=torch.uint8)
    _export(PeopleExport(network, PEOPLE_WH), example, file, None)
    size = str([PEOPLE_WH[1], PEOPLE_WH[0]])
    _describe(file, {"names": "{0: 'person'}", "task": "detect", "imgsz": size, "nms_iou": str(ONE_PERSON_OVERLAP)})


def export_joints(network: JointsNetwork, file: Path) -> None:
    """Write the network on single people, for any number of them at a time.

    Raises:
        OSError: The file cannot be written.
    """
    example = torch.zeros(1, JOINTS_WH[1], JOINTS_WH[0], 3, dtype=torch.uint8)
    _export(JointsExport(network), example, file, {_INPUT: {0: "people"}, _OUTPUT: {0: "people"}})
    _describe(file, {"task": JOINTS_TASK})


def _export(module: nn.Module, example: torch.Tensor, file: Path, axes: dict[str, dict[int, str]] | None) -> None:
    module = module.eval().to(memory_format=torch.contiguous_format)
    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs two more packages and writes the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (example,),
            str(file),
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _describe(file: Path, notes: dict[str, str]) -> None:
    """Write what readers of the file must know into it, last, where it is soon found."""
    model = onnx.load(str(file))
    del model.metadata_props[:]
    for key, value in {"channel_order": "BGR", "author": "tillfree", "license": "AGPL-3.0-or-later", **notes}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(file))


class _Pictures(CalibrationDataReader):
    """Pictures one by one for the calibration."""

    def __init__(self, pictures: Sequence[ImageArray]) -> None:
        self._pictures: Iterator[ImageArray] = iter(pictures)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Give the next picture."""
        picture = next(self._pictures, None)
        return None if picture is None else {_INPUT: np.ascontiguousarray(picture[None])}


def quantise(file: Path, out: Path, pictures: Sequence[ImageArray]) -> None:
    """Write an eight-bit copy of a model, as pairs of quantise and dequantise nodes, which ORT and OpenVINO both run.

    Only convolutions are changed, and not the first, which sees pixels, nor those that give the output: a step of
    eight bits there is a step of a pixel or of a tenth of a score.

    Args:
        file: The float model.
        out: The copy.
        pictures: Inputs from which ranges of values are learnt, each shape (h, w, 3), uint8.

    Raises:
        OSError: A file cannot be read or written.
    """
    plain = out.with_suffix(".float.onnx")
    try:
        quant_pre_process(str(file), str(plain), skip_symbolic_shape=True)
        model = onnx.load(str(plain))
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        first = convolutions[0].name
        # The last of each branch feed no further convolution.
        kept = [first, *(node.name for node in convolutions if not _leads_to_convolution(model, node.output[0]))]
        quantize_static(
            str(plain),
            str(out),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add"],
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "CalibMovingAverage": True},
        )
    finally:
        plain.unlink(missing_ok=True)
    notes = {note.key: note.value for note in onnx.load(str(file)).metadata_props}
    _describe(out, notes)


def _leads_to_convolution(model: onnx.ModelProto, name: str) -> bool:
    """Whether a value flows into a convolution, however far on."""
    reached = {name}
    for node in model.graph.node:  # in the order of computation
        if reached & set(node.input):
            if node.op_type == "Conv":
                return True
            reached |= set(node.output)
    return False
