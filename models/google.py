"""Google's EfficientDet-Lite0 and BlazePose, made from their TensorFlow Lite files into ONNX that detectors read."""

import numpy as np

from models.conversion import Converted, converted
from models.onnx_file import Node, Port
from vision.arrays import FloatArray

SIDE_PX = 320  # of EfficientDet-Lite0's input
STRIDES_PX = (8, 16, 32, 64, 128)  # levels 3 to 7 of its feature pyramid
ANCHOR_SCALE = 3.0  # of the Lite models; the plain EfficientDets have 4
ASPECTS = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))  # width and height of an anchor's shape
OCTAVES = 3  # sizes of anchors within a level
MAX_ROWS = 300  # as many as a detector keeps
NMS_IOU = 0.5  # what EfficientDet is evaluated with
MIN_SCORE = 0.05  # below it the scores of an 8-bit model are a dozen steps wide: noise

SCORES, BOXES = "StatefulPartitionedCall:1", "StatefulPartitionedCall:0"  # what its file calls its outputs
LANDMARKS, PRESENCE = "Identity", "Identity_1"  # and what BlazePose's does

_CLASSES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,,backpack,umbrella,,,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)


def anchor_boxes() -> FloatArray:
    """EfficientDet-Lite0's anchors in the order of its rows: centre x and y, width, height, shape (19206, 4), pixels.

    Tan et al., *EfficientDet: Scalable and Efficient Object Detection*, 2020; three sizes a level, three shapes a size.

    >>> anchor_boxes()[0].tolist()
    [4.0, 4.0, 24.0, 24.0]
    """
    levels = []
    for stride in STRIDES_PX:
        count = -(-SIDE_PX // stride)
        middle = (np.arange(count) + 0.5) * (SIDE_PX / count)
        y, x = np.meshgrid(middle, middle, indexing="ij")
        shapes = [
            (
                ANCHOR_SCALE * stride * 2 ** (octave / OCTAVES) * wide,
                ANCHOR_SCALE * stride * 2 ** (octave / OCTAVES) * high,
            )
            for octave in range(OCTAVES)
            for wide, high in ASPECTS
        ]
        cells = [np.stack([x, y, np.full_like(x, w), np.full_like(x, h)], axis=-1) for w, h in shapes]
        levels.append(np.stack(cells, axis=2).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def efficientdet_onnx(tflite: bytes) -> bytes:
    """Make EfficientDet-Lite0 a model with an ``end-to-end`` head.

    The operator that TensorFlow Lite does this with is not in the file that Google publishes, so the graph is extended
    here: the best rows are picked by their score, their boxes decoded from the anchors, and duplicates removed.

    Args:
        tflite: The TensorFlow Lite file, 320x320 RGB uint8 in.

    Returns:
        ONNX: ``images`` (1, 320, 320, 3) uint8 RGB; out come (1, n, 6): corners in input pixels, score, class.

    Raises:
        ValueError: The file is another one.
    """
    graph = converted(tflite, (SCORES, BOXES))
    expected = [(1, len(anchor_boxes()), 90), (1, len(anchor_boxes()), 4)]
    if [port.shape for port in graph.outputs] != expected:
        raise ValueError(f"expected EfficientDet-Lite0's outputs {expected}, got {[p.shape for p in graph.outputs]}")
    _add_detections(graph)
    names = {number: name or "???" for number, name in enumerate(_CLASSES.split(","))}
    return graph.written({"names": repr(names), "task": "detect", "imgsz": str([SIDE_PX, SIDE_PX])})


def _add_detections(graph: Converted) -> None:
    """Append the steps from scores (1, n, 90) and encoded boxes (1, n, 4) to rows (1, k, 6)."""
    one = graph.constant("i1", np.array([1], np.int64))
    two = graph.constant("i2", np.array([2], np.int64))
    most = graph.constant("most", np.array([MAX_ROWS], np.int64))
    flat_anchors = graph.constant("anchors", anchor_boxes())
    half = graph.constant("half", np.array([0.5], np.float32))
    best = graph.add("ReduceMax", [SCORES], axes=(2,), keepdims=0)  # (1, n)
    which = graph.add("ArgMax", [SCORES], axis=2, keepdims=0)
    top, rows = f"v{len(graph.nodes)}", f"v{len(graph.nodes)}_rows"
    graph.nodes.append(Node("TopK", (best, most), (top, rows), {"axis": 1}))
    row = graph.add("Squeeze", [rows, graph.constant("i0", np.array([0], np.int64))])  # (k,)
    classes = graph.add("Cast", [graph.add("Gather", [which, row], axis=1)], to=1)  # (1, k) float
    encoded = graph.add("Squeeze", [graph.add("Gather", [BOXES, row], axis=1), "i0"])  # (k, 4): ty, tx, th, tw
    anchor = graph.add("Gather", [flat_anchors, row], axis=0)  # (k, 4): x, y, w, h

    def columns(name: str, indices: tuple[int, int]) -> str:
        label = graph.constant(f"cols{indices[0]}{indices[1]}", np.array(indices, np.int64))
        return graph.add("Gather", [name, label], axis=1)

    size = columns(anchor, (2, 3))
    shift = graph.add("Mul", [columns(encoded, (1, 0)), size])
    centre = graph.add("Add", [columns(anchor, (0, 1)), shift])
    half_size = graph.add("Mul", [graph.add("Mul", [graph.add("Exp", [columns(encoded, (3, 2))]), size]), half])
    corners = graph.add(
        "Concat", [graph.add("Sub", [centre, half_size]), graph.add("Add", [centre, half_size])], axis=1
    )
    # Boxes of different classes are moved far apart, so that one pass removes duplicates of every class.
    apart = graph.constant("apart", np.array([10.0 * SIDE_PX], np.float32))
    moved = graph.add("Add", [corners, graph.add("Transpose", [graph.add("Mul", [classes, apart])], perm=(1, 0))])
    kept = graph.add(
        "NonMaxSuppression",
        [
            graph.add("Unsqueeze", [moved, "i0"]),
            graph.add("Unsqueeze", [top, "i0"]),
            most,
            graph.constant("iou", np.array([NMS_IOU], np.float32)),
            graph.constant("floor", np.array([MIN_SCORE], np.float32)),
        ],
    )  # (m, 3): batch, class, row
    kept_row = graph.add("Squeeze", [graph.add("Gather", [kept, two], axis=1), one])
    scored = [graph.add("Transpose", [each], perm=(1, 0)) for each in (top, classes)]
    table = graph.add("Concat", [corners, *scored], axis=1)  # (k, 6)
    final = graph.add("Unsqueeze", [graph.add("Gather", [table, kept_row], axis=0), "i0"])
    graph.nodes.append(Node("Identity", (final,), ("detections",)))
    graph.outputs[:] = [Port("detections", "float32", (1, 0, 6))]


def blazepose_onnx(tflite: bytes) -> bytes:
    """Make BlazePose's landmark network ONNX, without the outputs that nobody here reads.

    Args:
        tflite: The TensorFlow Lite file, 256x256 RGB float 0..1 in.

    Returns:
        ONNX: ``images`` (1, 256, 256, 3) float; ``Identity`` (1, 195) has x, y, z, visibility, presence of 39 points,
        ``Identity_1`` (1, 1) how surely there is a body.

    Raises:
        ValueError: The file is another one.
    """
    graph = converted(tflite, (LANDMARKS, PRESENCE))
    expected = [(1, 195), (1, 1)]
    if [port.shape for port in graph.outputs] != expected:
        raise ValueError(f"expected BlazePose's outputs {expected}, got {[port.shape for port in graph.outputs]}")
    return graph.written({"task": "blazepose"})
