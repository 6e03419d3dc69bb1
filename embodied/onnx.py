"""An actor as an ONNX file, written field by field, as there are four operators in it; and what it computes elsewhere.

Layout of the file: onnx.proto of ONNX 1.13 (operator set 13), in protobuf's wire format.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from embodied.agents.policies import Actor, NumpyActor
from embodied.checkpoint import write_atomically
from envs.errors import EmbodiedError
from envs.types import Array

INPUT, OUTPUT = "policy_input", "action"
"""Names of the graph's input `[B S]`, see `envs.features.policy_input`, and of its output `[B A]` in -1..1."""
TOLERANCE = 1e-4
"""By how much outputs, which are in -1..1, may differ: float32 sums are in another order elsewhere."""
_IR, _OPERATORS, _FLOAT = 8, 13, 1


def write(path: Path, actor: NumpyActor, inputs: Array) -> float:
    """Write the actor, run the file on `inputs` `[B S]`, and return the largest difference from the actor itself.

    Raises `EmbodiedError`, and leaves no file, where outputs differ by more than `TOLERANCE` or are not finite.
    """
    write_atomically(path, _model(actor))
    try:
        return check(path, actor, inputs)
    except EmbodiedError:
        path.unlink()
        raise


def check(path: Path, actor: Actor, inputs: Array) -> float:
    """The largest difference between the file's answers and the actor's to `inputs` `[B S]`; raises like `write`."""
    inputs = np.asarray(inputs, np.float32)
    difference = float(np.abs(outputs(path, inputs) - actor.act(inputs)).max())
    if not difference <= TOLERANCE:
        raise EmbodiedError(f"{path} says other than the actor, by up to {difference:.2g}: it is not exported.")
    return difference


def outputs(path: Path, inputs: Array) -> Array:
    """What the file says of `inputs` `[B S]`, by OpenCV. Raises `EmbodiedError` for a file that it cannot run."""
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
        network.setInput(inputs)
        return np.asarray(network.forward())
    except cv2.error as error:
        raise EmbodiedError(f"{path} cannot be run: {str(error).strip().splitlines()[0]}") from error


def _model(actor: NumpyActor) -> bytes:
    graph, name, last = b"", INPUT, len(actor.weights) - 1
    for layer, (weight, bias) in enumerate(zip(actor.weights, actor.biases, strict=True)):
        names = [f"weight{layer}", f"bias{layer}"]
        graph += _bytes(5, _tensor(names[0], weight)) + _bytes(5, _tensor(names[1], bias))
        graph += _bytes(1, _node("Gemm", [name, *names], f"sum{layer}"))
        name = OUTPUT if layer == last else f"hidden{layer}"
        graph += _bytes(1, _node("Tanh" if layer == last else "Relu", [f"sum{layer}"], name))
    graph += _bytes(2, "actor")
    graph += _bytes(11, _value(INPUT, actor.weights[0].shape[0])) + _bytes(12, _value(OUTPUT, len(actor.biases[-1])))
    operators = _bytes(1, "") + _number(2, _OPERATORS)
    return _number(1, _IR) + _bytes(2, "embodied") + _bytes(7, graph) + _bytes(8, operators)


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(3, output) + _bytes(4, operator)


def _tensor(name: str, values: Array) -> bytes:
    sizes = b"".join(_number(1, size) for size in values.shape)
    return sizes + _number(2, _FLOAT) + _bytes(8, name) + _bytes(9, np.ascontiguousarray(values, "<f4").tobytes())


def _value(name: str, size: int) -> bytes:
    shape = _bytes(1, _bytes(2, "batch")) + _bytes(1, _number(1, size))
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
