"""The networks that turn images into features: what distances between sets of images are measured in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from stylegan.errors import UserError, nearest
from stylegan.metrics.inception import CLASSES, FEATURES, PUBLISHED, InceptionV3, enlarge_like_tensorflow
from stylegan.metrics.weights import Published, Weights, fill, find_weights

INCEPTION, VGG16 = "inception", "vgg16"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class FeatureNetwork:
    """A network with trained weights, and how images get into it.

    Attributes:
        name: `inception`, or torchvision's name. Where the weights are not the published ones, eight digits of their SHA-256
            follow, so that a number made with them cannot be taken for another.
        network: RGB images, uint8 [N, 3, H, W] -> features [N, dim] and logits [N, classes].
        dim: Length of the features.
        classes: Length of the logits.
        resize: How images are brought to the network's size.
        weights_sha256: Of the file.
    """

    name: str
    network: Callable[[Tensor], tuple[Tensor, Tensor]]
    dim: int
    classes: int
    resize: str
    weights_sha256: str

    @property
    def weights(self) -> dict[str, str]:
        """The SHA-256 of the file by the network's name."""
        return {self.name: self.weights_sha256}

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features float [N, dim] and logits float [N, classes] of uint8 images [N, C, H, W] with 1, 3 or 4 channels."""
        with torch.inference_mode():
            return self.network(as_rgb(images))


def as_rgb(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] with 1 (grey), 3 or 4 channels (transparency is put on white) as uint8 [N, 3, H, W]."""
    match images.shape[1]:
        case 3:
            return images
        case 1:
            return images.expand(-1, 3, -1, -1)
        case _:
            alpha = images[:, 3:].float() / 255
            return (images[:, :3] * alpha + 255 * (1 - alpha)).round().to(torch.uint8)


def feature_names() -> list[str]:
    """The networks that there are: that of the papers, and torchvision's classifiers."""
    import torchvision  # here and below, not above: it takes a second, and names of metrics are read without it

    return [INCEPTION, *torchvision.models.list_models(module=torchvision.models)]


def check_feature_name(name: str) -> None:
    """Raise `UserError`, with the nearest name, where there is no such network."""
    if name not in (INCEPTION, VGG16) and name not in feature_names():
        raise UserError(f"there are no features {name}; {nearest(name, feature_names())}")


def load_features(name: str, device: torch.device, given: Mapping[str, Path] | None = None) -> FeatureNetwork:
    """A feature network with its weights.

    Args:
        name: One of `feature_names`.
        device: Where it computes.
        given: Files of weights by network's name; see `stylegan.metrics.weights` for where else they are looked for.

    Raises:
        UserError: No such network, or its weights cannot be had or do not fit.
    """
    check_feature_name(name)
    path = (given or {}).get(name)
    if name == INCEPTION:
        weights = find_weights(name, [PUBLISHED], path)
        with torch.device("meta"):
            network: nn.Module = InceptionV3()
        fill(network, weights, name)
        dim, classes, resize = FEATURES, CLASSES, "TensorFlow 1 bilinear to 299x299"
    else:
        weights = find_weights(name, torchvision_files(name), path)
        network, dim, classes, side = _torchvision(name)
        fill(network.model, weights, name)
        fold_normalisation(network.model.eval())
        kind = "TensorFlow 1 bilinear" if name == VGG16 else "antialiased bilinear"
        resize = f"{kind} to {side}x{side}"
    network = network.to(device).eval().requires_grad_(False)
    return FeatureNetwork(named_by_weights(name, weights), network, dim, classes, resize, weights.sha256)


def named_by_weights(name: str, weights: Weights) -> str:
    """The network's name, with a part of the hash where its weights are not published ones."""
    if weights.published is not None:
        return name
    return f"{name}-{weights.sha256[:8]}"


def torchvision_files(name: str) -> list[Published]:
    """The weights that torchvision publishes for a classifier, the oldest first."""
    import torchvision

    files = []
    for item in torchvision.models.get_model_weights(name):
        file = item.url.rsplit("/", 1)[-1]
        files.append(Published(file, file.rsplit("-", 1)[-1].split(".")[0], item.url, "torchvision"))
    return files


class TorchvisionFeatures(nn.Module):
    """One of torchvision's classifiers; its features are the input of its last linear layer.

    For VGG16 these are those of precision and recall (Kynkäänniemi et al. 2019): the second hidden layer after the ReLU.

    Args:
        model: The classifier.
        last: Its last linear layer.
        side: Images are scaled to this size, the whole image, not a crop of it.
        scale: Scales float images [N, 3, H, W] in 0..255 to `side`.
    """

    def __init__(self, model: nn.Module, last: nn.Linear, side: int, scale: Callable[[Tensor, int], Tensor]):
        super().__init__()
        self.model, self.side, self.scale = model, side, scale
        self._features: list[Tensor] = []
        last.register_forward_pre_hook(lambda _, inputs: self._features.append(inputs[0]))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 3, H, W] -> features [N, D], logits [N, 1000]."""
        x = self.scale(images.to(next(self.model.parameters()).dtype), self.side) / 255
        mean, std = (x.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        logits = self.model(((x - mean) / std).contiguous(memory_format=torch.channels_last))
        return self._features.pop(), logits


def fold_normalisation(module: nn.Module) -> None:
    """In place, let each convolution of an eval-mode network do the work of the batch normalisation right after it.

    Outputs stay the same but for rounding. On a CPU, mobilenet_v2 is then computed 1.6 times as fast.
    """
    for child in module.children():
        fold_normalisation(child)
    if isinstance(module, nn.Sequential):
        for i in range(len(module) - 1):
            layer, after = module[i], module[i + 1]
            if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                module[i], module[i + 1] = fuse_conv_bn_eval(layer, after), nn.Identity()


def _torchvision(name: str) -> tuple[TorchvisionFeatures, int, int, int]:
    """The network without weights, the length of its features, its classes, and the side of its input."""
    import torchvision

    plain = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):
        model: Any = torchvision.models.get_model(name, weights=None, **plain)
    if hasattr(model, "transform_input"):
        model.transform_input = True  # what torchvision's builder sets where it loads the weights itself
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(
            f"{name} has no linear layer to take features from; choose another network, such as mobilenet_v2"
        )
    transform = next(iter(torchvision.models.get_model_weights(name))).transforms()
    side = int(transform.crop_size[0])
    scale = enlarge_like_tensorflow if name == VGG16 else _antialiased
    return TorchvisionFeatures(model, linear[-1], side, scale), linear[-1].in_features, linear[-1].out_features, side


def _antialiased(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
