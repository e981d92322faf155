"""Files of weights for tests: small networks with weights drawn from a fixed seed."""

import functools
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from stylegan.metrics.attribute_network import AttributeNetwork, save_attributes
from stylegan.metrics.inception import InceptionV3

SMALL = "shufflenet_v2_x0_5"  # the quickest of torchvision's


def write_small(path: Path) -> Path:
    """Weights of `SMALL`, as torch saves them."""
    torch.save(_small(), path)
    return path


def write_attributes(path: Path) -> Path:
    """An attribute network that was never trained."""
    network = AttributeNetwork()
    network.load_state_dict(drawn(network))
    save_attributes(path, network, {})
    return path


@functools.cache
def inception() -> dict[str, Tensor]:
    """Weights of Inception-v3 in torch-fidelity's layout, so that activations neither vanish nor explode."""
    with torch.device("meta"):
        network = InceptionV3()
    return drawn(network)


@functools.cache
def vgg16_features() -> dict[str, Tensor]:
    """The convolutions of VGG16 under the names of torchvision's file."""
    with torch.device("meta"):
        features = torchvision.models.vgg16(weights=None, init_weights=False).features
    return {f"features.{name}": tensor for name, tensor in drawn(features).items()}


def drawn(network: nn.Module) -> dict[str, Tensor]:
    """A state for the network: weights normal with variance 2 / inputs, statistics and biases near those of a new one."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in network.state_dict().items():
        noise = torch.randn(tensor.shape, generator=random)
        if tensor.ndim > 1:
            state[name] = noise * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        else:
            near_one = name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1)
            state[name] = near_one + 0.1 * noise if not name.endswith("running_var") else 1 + 0.1 * noise.abs()
    return state


@functools.cache
def _small() -> dict[str, Tensor]:
    with torch.device("meta"):
        network = torchvision.models.get_model(SMALL, weights=None)
    return drawn(network)
