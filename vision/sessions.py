"""Opens small networks in ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

import onnxruntime

_ERRORS_ONLY = 3


def open_session(weights: Path, *, threads: int | None = None) -> Any:
    """Open a model file for runs one after the other.

    Args:
        weights: An ONNX file.
        threads: CPU threads for one run; None leaves it to the runtime.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ValueError: It is not a model that can be run.
        OSError: It cannot be read.
    """
    content = weights.read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no narrower base
        raise ValueError(f"{weights}: not an ONNX model that can be run: {' '.join(str(error).split())}") from error
