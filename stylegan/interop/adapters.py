"""All adapters to networks of other projects; a new one is a line here."""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.interop.fill import build_and_fill
from stylegan.models import official, r3gan_public, stylegan2_public, stylegan2_rosinality, stylegan3_public
from stylegan.models.adapter import Adapter, Foreign, PublicLayout
from stylegan.models.base import Network

ADAPTERS: tuple[Adapter, ...] = (
    stylegan2_public.GENERATOR,
    stylegan2_public.DISCRIMINATOR,
    stylegan3_public.GENERATOR,
    r3gan_public.GENERATOR,
    r3gan_public.DISCRIMINATOR,
    stylegan2_rosinality.GENERATOR,
    stylegan2_rosinality.DISCRIMINATOR,
    *official.ALL,
)
ARCHITECTURES = list(dict.fromkeys(adapter.architecture for adapter in ADAPTERS))
_AdapterT = TypeVar("_AdapterT", bound=Adapter)


def adapter_for(tensors: Mapping[str, Tensor], among: type[_AdapterT]) -> _AdapterT:
    """The adapter for a network with these tensors, by their names; `among`: of one kind of file.

    Raises:
        UnreadableError: There is none.
    """
    for adapter in ADAPTERS:
        if isinstance(adapter, among) and adapter.recognises(tensors):
            return adapter
    some = ", ".join(name[:60] for name in list(tensors)[:3]) or "nothing"
    raise UnreadableError(f"holds a network that is neither {' nor '.join(ARCHITECTURES)} (its tensors: {some}, ...)")


def take_over(foreign: Foreign, among: type[Adapter] = Adapter) -> Network:
    """Our network for another project's, with its weights, bit by bit.

    Raises:
        UnreadableError: It is of no known architecture, or a parameter or buffer does not match; names the first.
    """
    return build_and_fill(*adapter_for(foreign.tensors, among).to_ours(foreign))


def public_layout(kind: str) -> PublicLayout:
    """How the public StyleGAN tools write down an architecture of ours.

    Raises:
        UnreadableError: They do not have it.
    """
    for adapter in ADAPTERS:
        if isinstance(adapter, PublicLayout) and adapter.kind == kind:
            return adapter
    raise UnreadableError(f"is a {kind} network, which the public StyleGAN tools do not have")
