"""The discriminator that belongs to a generator: in the same file, or in the newest checkpoint of its run."""

from pathlib import Path

from stylegan import run_dir
from stylegan.errors import UnreadableError, UserError, shown
from stylegan.interop.difference import summands
from stylegan.interop.fill import Layout, build_for
from stylegan.interop.networks import read_networks
from stylegan.interop.pickled import plain
from stylegan.interop.torch_file import read_pickled
from stylegan.models.base import Discriminator
from stylegan.models.build import build_discriminator_from_metadata
from stylegan.values import at_home


def find_discriminator(network: str | None, path: Path) -> Discriminator | None:
    """The D beside a G, on the CPU.

    Args:
        network: As it was typed: where it is a run's folder, its newest checkpoint is looked into.
        path: The file that it stands for.

    Returns:
        None where there is none.

    Raises:
        UserError: A file is damaged.
    """
    folder = Path(at_home(network or ""))
    if network is not None and run_dir.is_run_dir(folder):
        checkpoints = run_dir.checkpoints(folder)
        return _of_checkpoint(checkpoints[-1]) if checkpoints else None
    found = read_networks(summands(path)[0]).networks.get("D")
    return found if isinstance(found, Discriminator) else None


def _of_checkpoint(path: Path) -> Discriminator:
    try:
        content = plain(read_pickled(path))
        tensors, meta = content["state"]["D"], content["architecture"]["D"]
        layouts = {name: Layout.of(tensor) for name, tensor in tensors.items()}
        D = build_for(meta, layouts, build_discriminator_from_metadata)
        D.load_state_dict(tensors)
    except (UnreadableError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"cannot read the discriminator of {path}: {shown(error, 300)}; choose figure.distance=pixels, or another run"
        ) from None
    assert isinstance(D, Discriminator)
    return D
