"""ONNX files: converted ones say what ONNX Runtime says, and hostile ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import ModelError
from tests.helpers.fresh_process import printed
from tests.helpers.onnx_nets import COLOUR, NETS, Attention, Residual, Shape, exported

onnx = pytest.importorskip("onnx", reason="pip install 'crumple[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'crumple[onnx]'")
pytest.importorskip("onnx2pytorch", reason="pip install 'crumple[onnx]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from engine.compression.layers import bare_matrices  # noqa: E402
from engine.host import child as isolated  # noqa: E402
from engine.importing.onnx_files import child  # noqa: E402
from engine.importing.onnx_files.checks import look_over  # noqa: E402
from engine.importing.onnx_files.convert import convert  # noqa: E402
from engine.models.programs.program import read_program  # noqa: E402

NAME = "net.onnx"


def images_of(shape: Shape, count: int = 7) -> torch.Tensor:
    bytes_ = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(1))
    return bytes_.float() / 255


def converted(content: bytes, shape: Shape, folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """The network as the library would keep it, and what is told of it."""
    sample, result = folder / "images.npy", folder / "net.pt2"
    np.save(sample, images_of(shape, 4).numpy())
    notes = convert(look_over(content, NAME), NAME, sample, result)
    return read_program(result, shape), notes


def runtime(content: bytes, images: np.ndarray, at_once: int) -> torch.Tensor:
    """What ONNX Runtime itself says of the file, operator by operator.

    Its optimisations may round activations to integers where weights are stored so.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(None, {session.get_inputs()[0].name: images[place : place + at_once]})[0]
        for place in range(0, len(images), at_once)
    ]
    return torch.from_numpy(np.concatenate(parts))


@pytest.mark.parametrize("case", NETS)
def test_says_what_onnx_runtime_says(case: str, tmp_path: Path) -> None:
    make, shape, free = NETS[case]
    torch.manual_seed(0)
    net = make()
    size = shape if case != "rows" else (144,)
    content = exported(net, size, free=free)
    module, notes = converted(content, shape, tmp_path)
    images = images_of(shape)
    expected = runtime(content, images.reshape(-1, *size).numpy(), 7 if free else 1)
    with torch.no_grad():
        found = module(images.clone())
    if any("softmax" in one for one in notes):
        found = found.softmax(1)
    assert torch.allclose(found, expected, 1e-4, 1e-4)
    assert any("flattened" in one for one in notes) == (case == "rows")


def by_hand(shape: list[object], kind: int = TensorProto.FLOAT, *, last: bool = False) -> bytes:
    """Means over pixels of 3 channels, and a linear layer, in the way of TensorFlow."""
    weight = np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2] if last else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_channels_last_and_bytes_are_fed_as_the_file_takes_them(tmp_path: Path) -> None:
    content = by_hand(["n", 12, 12, 3], TensorProto.UINT8, last=True)
    module, notes = converted(content, COLOUR, tmp_path)
    images = images_of(COLOUR)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        found = module(images.clone())
    assert torch.allclose(found, runtime(content, pixels, 7), 1e-4, 1e-4)
    assert any("channels last" in one for one in notes)
    assert any("multiplied by 255" in one for one in notes)


def test_weights_stored_as_integers_are_multiplied_out(tmp_path: Path) -> None:
    made = onnx.ModelProto.FromString(by_hand(["n", 3, 12, 12]))
    made.graph.initializer[0].name = "other"
    codes = np.random.default_rng(0).integers(-128, 128, (3, 10)).astype(np.int8)
    scales = np.linspace(0.01, 0.1, 10, dtype=np.float32)
    for array, name in ((codes, "codes"), (scales, "s"), (np.full(10, 3, np.int8), "z")):
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    node = helper.make_node("DequantizeLinear", ["codes", "s", "z"], ["w"], axis=1)
    made.graph.node.insert(0, node)
    content = made.SerializeToString()
    module, notes = converted(content, COLOUR, tmp_path)
    images = images_of(COLOUR)
    with torch.no_grad():
        found = module(images.clone())
    assert torch.allclose(found, runtime(content, images.numpy(), 7), 1e-4, 1e-4)
    (linear,) = (one for one in module.modules() if isinstance(one, nn.Linear))
    assert np.allclose(linear.weight.detach().numpy().T, (codes - 3.0) * scales, 1e-6)
    assert any("stored as integers" in one for one in notes)


def test_weights_stay_open_to_gradients_and_compression(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "net.pt2").touch()
    np.save(tmp_path / "images.npy", images_of(COLOUR, 4).numpy())
    content = exported(Residual(), COLOUR, free=False)
    convert(look_over(content, NAME), NAME, tmp_path / "images.npy", tmp_path / "net.pt2")
    module = read_program(tmp_path / "net.pt2", COLOUR)
    assert not bare_matrices(module)
    assert {type(one) for one in module.modules()} >= {nn.Conv2d, nn.Linear}
    # No second copy of the weights, as initialisers that no layer reads.
    assert sum(one.numel() for one in module.state_dict().values()) < 1000
    images = images_of(COLOUR).requires_grad_()
    module(images).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.abs().sum() > 0)


def test_a_number_of_images_that_cannot_be_freed_is_told(tmp_path: Path) -> None:
    content = exported(Attention(), COLOUR, free=False)
    with pytest.raises(ModelError, match="exactly 1 image at once") as caught:
        converted(content, COLOUR, tmp_path)
    assert "dynamic_axes" in caught.value.hint
    assert "--class net.py:Net" in caught.value.hint


def test_images_of_another_size_are_told(tmp_path: Path) -> None:
    content = by_hand(["n", 3, 32, 32])
    with pytest.raises(ModelError, match=r"takes \?x3x32x32.*images are 3x12x12"):
        converted(content, COLOUR, tmp_path)


def test_another_answer_than_onnx_runtime_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.importing.onnx_files.network import Network

    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda net, images: forward(net, images) + 1e-3)
    with pytest.raises(ModelError, match=r"differs by 0.00") as caught:
        converted(by_hand(["n", 3, 12, 12]), COLOUR, tmp_path)
    assert ".pt2 of torch.export" in caught.value.hint
    assert "--class net.py:Net" in caught.value.hint


# Hostile files


def model(change: Callable[[onnx.ModelProto], None]) -> bytes:
    made = onnx.ModelProto()
    made.ParseFromString(by_hand(["n", 3, 12, 12]))
    change(made)
    return made.SerializeToString()


def outside(tensor: TensorProto) -> None:
    """The numbers of a tensor are said to lie in a file."""
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")


def constant(made: onnx.ModelProto) -> TensorProto:
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(2), "c"))
    made.graph.node.append(node)
    return made.graph.node[-1].attribute[0].t


def in_a_branch(made: onnx.ModelProto) -> TensorProto:
    inner = helper.make_graph([], "b", [], [], [numpy_helper.from_array(np.ones(2), "c")])
    made.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner))
    return made.graph.node[-1].attribute[0].g.initializer[0]


def in_a_function(made: onnx.ModelProto) -> TensorProto:
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(2), "c"))
    opset = [helper.make_opsetid("", 13)]
    made.functions.append(helper.make_function("mine", "F", [], ["c"], [node], opset))
    return made.functions[0].node[0].attribute[0].t


def sparse(made: onnx.ModelProto) -> TensorProto:
    one = made.graph.sparse_initializer.add()
    one.values.CopyFrom(numpy_helper.from_array(np.ones(2), "c"))
    return one.values


@pytest.mark.parametrize(
    "where",
    [lambda made: made.graph.initializer[0], constant, in_a_branch, in_a_function, sparse],
    ids=["initialiser", "constant", "branch", "function", "sparse"],
)
def test_weights_in_other_files_are_never_opened(
    where: Callable[[onnx.ModelProto], TensorProto],
) -> None:
    with pytest.raises(ModelError, match=r"'../../etc/passwd' for .*, which is not opened") as told:
        look_over(model(lambda made: outside(where(made))), NAME)
    assert "net-whole.onnx" in told.value.hint


def nested(made: onnx.ModelProto) -> None:
    graph = made.graph
    for _ in range(12):
        graph.node.append(helper.make_node("If", ["x"], ["z"]))
        attribute = graph.node[-1].attribute.add(name="then_branch", type=5)
        graph = attribute.g
        graph.name = "g"


def deep() -> bytes:
    """Messages within messages, far beyond what a parser follows."""
    content = b""
    for _ in range(1000):  # a graph, in an attribute, in a node, in a graph
        for field in (b"\x32", b"\x2a", b"\x0a"):
            content = field + _varint(len(content)) + content
    return b"\x08\x08\x3a" + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while True:
        number, low = number >> 7, number & 127
        found.append(low | (128 if number else 0))
        if not number:
            return bytes(found)


def declared(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]


def operator(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def change(made: onnx.ModelProto) -> None:
        made.graph.node[0].op_type, made.graph.node[0].domain = kind, domain

    return change


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "graphs in graphs": (lambda: model(nested), "nested more than 8 deep"),
    "messages in messages": (deep, "damaged, truncated or nested too deeply"),
    "truncated": (lambda: by_hand(["n", 3, 12, 12])[:-30], "damaged, truncated or nested"),
    "declared too large": (lambda: model(declared), r"'w' of the size 1099511627776x.* holds 30"),
    "operator of a program": (lambda: model(operator("Gelu", "com.microsoft")),
                              "'com.microsoft.Gelu'.* none of the ONNX standard"),
    "a function of torch": (lambda: model(operator("Load")), "'Load'.* none of the ONNX standard"),
    "endless": (lambda: model(operator("Loop")), r"repeats a part \(Loop\)"),
    "integers": (lambda: model(operator("QLinearConv")), r"integers \(QLinearConv\)"),
    "texts": (lambda: model(lambda made: made.graph.initializer.append(
        helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))), "'t' as STRING"),
    "no nodes": (lambda: model(lambda made: made.graph.ClearField("node")), "has no nodes"),
    "too many nodes": (lambda: model(lambda made: made.graph.node.extend(
        [made.graph.node[0]] * 100_001)), "more than 100,000 nodes"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case: str) -> None:
    make, message = HOSTILE[case]
    with pytest.raises(ModelError, match=message):
        look_over(make(), NAME)


def test_more_than_the_memory_holds_is_refused(tmp_path: Path) -> None:
    """The sum of 2**44 numbers that the file does not hold, but asks to be made."""

    def grow(made: onnx.ModelProto) -> None:
        size = numpy_helper.from_array(np.array([1 << 44, 1, 1, 1]), "size")
        made.graph.initializer.append(size)
        made.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["many"]))
        made.graph.node.insert(1, helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0))
        made.graph.node.insert(2, helper.make_node("Add", ["x", "sum"], ["z"]))
        made.graph.node[3].op_type = "Identity"
        made.graph.node[3].ClearField("attribute")
        made.graph.node[3].input[:] = ["z"]

    with pytest.raises(ModelError, match=r"ONNX Runtime (refuses|cannot run) net\.onnx"):
        converted(model(grow), COLOUR, tmp_path)


def test_names_of_the_file_reach_no_code(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    bad = f'x"); open({str(trap)!r}, "w"); ("'

    def rename(made: onnx.ModelProto) -> None:
        for place, node in enumerate(made.graph.node):
            node.input[:] = [bad + one for one in node.input]
            node.output[:] = [bad + one for one in node.output]
            node.name = f"{bad}{place}"
        for one in (*made.graph.input, *made.graph.output, *made.graph.initializer):
            one.name = bad + one.name

    module, _ = converted(model(rename), COLOUR, tmp_path)
    with torch.no_grad():
        module(images_of(COLOUR))
    assert not trap.exists()
    assert not any("open" in name for name, _ in module.named_modules())


def test_a_file_is_looked_over_before_torch_is_loaded() -> None:
    code = (
        "import sys; from engine.importing.onnx_files import checks, child; "
        "print(*{'torch', 'onnxruntime'} & set(sys.modules))"
    )
    assert printed(code, without=(), chosen={}) == []


def test_what_is_missing_is_told_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="onnx, onnxruntime, onnx2pytorch") as caught:
        child.look_over(tmp_path / NAME)
    assert "pip install 'crumple[onnx]'" in caught.value.hint


def test_a_process_that_ends_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / NAME
    path.write_bytes(by_hand(["n", 3, 12, 12]))

    def silent(*asked: object) -> None:
        raise isolated.NoAnswer("exit status -6")

    monkeypatch.setattr(isolated, "ask", silent)
    with pytest.raises(ModelError, match="ended its process: exit status -6"):
        child.look_over(path)
