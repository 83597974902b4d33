"""What is read from shapes holds the true network, whatever the order of the tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.importing.chains.candidates import MOST, candidates
from engine.importing.chains.geometry import fitting_sides
from engine.importing.chains.network import Workshop, build
from engine.importing.chains.reading import Chain, read_chain
from engine.importing.outputs import TwoClasses
from tests.helpers.plain_networks import NETWORKS, Shape, fresh

State = dict[str, Tensor]


def read(state: State) -> Chain:
    chain = read_chain(state)
    assert chain is not None
    return chain


def matching(state: State, shape: Shape, truth: nn.Module) -> list[int]:
    """Numbers of the candidates with the logits of a network, up to a constant of each image."""
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    images = torch.cat([images, 50 * images])  # loud enough for activations that end somewhere
    workshop = Workshop(state)
    found = []
    with torch.no_grad():
        expected = truth(images)
        if expected.shape[1] == 1:
            expected = TwoClasses(truth, probabilities=False)(images)
        expected = expected.log_softmax(1)
        for one in candidates(read(state), shape):
            logits = workshop.network(one.operations)(images)
            if torch.allclose(logits.log_softmax(1), expected, atol=1e-3):
                found.append(one.number)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_true_network_is_among_the_candidates(name: str) -> None:
    network, shape = fresh(name), NETWORKS[name][1]
    numbers = matching(network.state_dict(), shape, network)
    assert len(numbers) == 1, "it is there, and once"


def shuffled(state: State) -> State:
    order = torch.randperm(len(state), generator=torch.Generator().manual_seed(1)).tolist()
    keys = list(state)
    return {keys[place]: state[keys[place]] for place in order}


ORDERS: dict[str, Callable[[State], State]] = {
    "sorted as safetensors has them": lambda state: dict(sorted(state.items())),
    "without counters": lambda state: {
        key: one for key, one in state.items() if "num_batches" not in key
    },
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["VGG-like", "norm behind pooling", "twelve in a list"])
def test_the_order_in_the_file_does_not_matter(name: str, order: str) -> None:
    network, shape = fresh(name), NETWORKS[name][1]
    state = ORDERS[order](network.state_dict())
    assert len(matching(state, shape, network)) == 1


def test_different_widths_tell_the_order_whatever_that_of_the_file() -> None:
    network = fresh("tutorial")
    chain = read(shuffled(network.state_dict()))
    assert [one.layer.name for one in chain.steps] == ["conv1", "conv2", "fc1", "fc2", "fc3"]


def test_candidates_are_the_same_each_time_numbered_and_the_usual_first() -> None:
    state = fresh("tutorial").state_dict()
    first, second = (candidates(read(state), (3, 32, 32)) for _ in range(2))
    assert first == second
    assert len(first) == MOST
    assert [one.number for one in first] == list(range(1, MOST + 1))
    assert [one.cost for one in first] == sorted(one.cost for one in first)
    assert len({one.operations for one in first}) == MOST
    assert first[0].words == "ReLU, 2x2 max pooling after convolutions 1 and 2, no padding"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LeNet-5", "tanh, 2x2 average pooling after convolutions 1 and 2, paddings 2, 0"),
        ("MNIST example", "ReLU, 2x2 max pooling after convolution 2, no padding"),
        ("Wong, small", "ReLU, stride 2 in convolutions 1 and 2, padding 1"),
        (
            "MLP with norms",
            "LeakyReLU 0.1, BatchNorm before the activation or behind the activation",
        ),
        ("all convolutions", "ReLU, stride 2 in convolution 2, padding 1, global average pooling"),
        (
            "norm behind pooling",
            "BatchNorm behind the activation or behind the activation and pooling",
        ),
        ("one output", "SiLU"),
    ],
)
def test_what_was_deduced_is_said(name: str, words: str) -> None:
    network, shape = fresh(name), NETWORKS[name][1]
    (number,) = matching(network.state_dict(), shape, network)
    chain = read(network.state_dict())
    assert words in candidates(chain, shape)[number - 1].words


def test_work_is_counted_as_the_layers_do_it() -> None:
    from engine.compression.macs import count_macs

    state = fresh("Carlini").state_dict()
    for one in candidates(read(state), (1, 28, 28))[:40:7]:
        counted = count_macs(build(one.operations, state), (1, 28, 28))
        assert one.macs == sum(counted.values()), one.words


def test_a_gap_in_the_numbers_leaves_room_for_what_stands_there_and_no_more() -> None:
    """Conv 0, ReLU 1, Conv 2: no pooling. Conv 2, ReLU 3, pooling 4, Conv 5: room for one."""
    state = fresh("Carlini").state_dict()
    for one in candidates(read(state), (1, 28, 28)):
        assert "pooling after convolution 1" not in one.words
        assert "pooling after convolutions 1" not in one.words


def test_layers_behind_each_other_have_no_activation_between_them() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, groups=1), nn.Conv2d(4, 6, 1), nn.Tanh()),
        *(nn.Flatten(), nn.Linear(6 * 36, 3)),
    ).eval()
    assert len(matching(network.state_dict(), (1, 8, 8), network)) == 1


def wrong(change: Callable[[State], None]) -> State:
    state = dict(fresh("norm behind pooling").state_dict())
    change(state)
    return state


NO_CHAINS: dict[str, Callable[[State], None]] = {
    "another width": lambda state: state.update({"conv2.weight": torch.zeros(12, 7, 3, 3)}),
    "a bias of another length": lambda state: state.update({"fc1.bias": torch.zeros(21)}),
    "a norm of no layer": lambda state: state.update({"bn1.running_mean": torch.zeros(9)}),
    "a table": lambda state: state.update({"scale": torch.ones(3, 3)}),
    "a layer norm": lambda state: (
        [state.pop(f"bn2.running_{one}") for one in ("mean", "var")] and None
    ),
    "an offset of another kind": lambda state: state.update({"fc1.alpha": torch.zeros(20)}),
    "two heads": lambda state: state.update(
        {"value.weight": torch.zeros(1, 20), "value.bias": torch.zeros(1)}
    ),
    "a convolution in one dimension": lambda state: state.update(
        {"conv1.weight": torch.zeros(8, 3, 3)}
    ),
    "two counters": lambda state: state.update({"bn1.num_batches_tracked": torch.zeros(2)}),
    "a shortcut": lambda state: state.update({"shortcut.0.weight": torch.zeros(8, 8, 1, 1)}),
    "nothing": lambda state: state.clear(),
}


@pytest.mark.parametrize("change", NO_CHAINS)
def test_what_is_no_chain_is_not_taken_for_one(change: str) -> None:
    assert read_chain(wrong(NO_CHAINS[change])) is None


def test_reading_ends_where_many_orders_are_possible() -> None:
    """A thousand orders of one width, and none that fits at its end."""
    state = {f"l{n}.weight": torch.zeros(5, 5) for n in range(40)}
    state["in.weight"], state["odd.weight"] = torch.zeros(5, 64), torch.zeros(7, 6)
    assert read_chain(state) is None


@pytest.mark.parametrize("name", ["tutorial", "Madry", "Wong, small"])
def test_the_size_of_the_images_is_among_those_that_fit(name: str) -> None:
    shape = NETWORKS[name][1]
    chain = read(fresh(name).state_dict())
    assert shape[1] in fitting_sides(chain)
    assert chain.inputs is not None
    assert chain.places == chain.inputs // chain.convolutions[-1].width


def test_images_that_do_not_fit_have_no_candidates() -> None:
    chain = read(fresh("one output").state_dict())
    assert candidates(chain, (1, 9, 9)) == []
    assert math.prod((1, 8, 8)) == chain.inputs
    assert candidates(read(fresh("tutorial").state_dict()), (1, 32, 32)) == []
    assert candidates(read(fresh("Wong, small").state_dict()), (1, 200, 200)) == []
