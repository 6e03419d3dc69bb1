"""An actor as an ONNX file, and what that computes elsewhere."""

from pathlib import Path

import cv2
import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from embodied.agents.policies import Actor, NumpyActor
from embodied.checkpoint import write_atomically
from envs.errors import EmbodiedError
from envs.types import Array

INPUT, OUTPUT = "policy_input", "action"
"""Names of the graph's input `[B S]`, see `envs.features.policy_input`, and of its output `[B A]` in -1..1."""
TOLERANCE = 1e-4
"""By how much outputs, which are in -1..1, may differ: float32 sums are in another order elsewhere."""
_IR, _OPERATORS = 8, 13
"""Of ONNX 1.13: old enough for whatever runs it."""


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
    nodes, tensors, name, last = [], [], INPUT, len(actor.weights) - 1
    for layer, (weight, bias) in enumerate(zip(actor.weights, actor.biases, strict=True)):
        names = [f"weight{layer}", f"bias{layer}"]
        tensors += [
            numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
            for name, values in zip(names, (weight, bias), strict=True)
        ]
        nodes.append(helper.make_node("Gemm", [name, *names], [f"sum{layer}"]))
        name = OUTPUT if layer == last else f"hidden{layer}"
        nodes.append(helper.make_node("Tanh" if layer == last else "Relu", [f"sum{layer}"], [name]))
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", size])
        for end, size in ((INPUT, actor.weights[0].shape[0]), (OUTPUT, len(actor.biases[-1])))
    ]
    graph = helper.make_graph(nodes, "actor", ends[:1], ends[1:], tensors)
    version = [helper.make_opsetid("", _OPERATORS)]
    model = helper.make_model(graph, producer_name="embodied", ir_version=_IR, opset_imports=version)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
