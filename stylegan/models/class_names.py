"""A class of a conditional network by its name, as the archive that it was trained on has it."""

from unicodedata import normalize

from stylegan.errors import UserError, nearest
from stylegan.models.base import Generator


def class_number(G: Generator, name: str | int | None) -> int:
    """The number of a class.

    Args:
        G: A network with classes.
        name: What the user calls the class; what consists of digits is its number.

    Raises:
        UserError: There is no such class, or none is named; names the nearest, or says what there is.
    """
    numbers = f"this network has {G.c_dim} classes; choose class_idx=0 to {G.c_dim - 1}"
    if name is None:
        raise UserError(f"class_idx is missing: {numbers}{', or a name' if G.class_names else ''}")
    if isinstance(name, int) or (name.isascii() and name.isdecimal()):
        if 0 <= int(name) < G.c_dim:
            return int(name)
        raise UserError(f"class_idx={name} does not exist: {numbers}")
    if name == "all" and name not in G.class_names:
        raise UserError("class_idx=all makes rows by class of figure=grid, and nothing else; choose one class")
    if not G.class_names:
        raise UserError(f"class_idx={name}: the network does not say what its classes are called; {numbers}")
    # Folders made on a Mac spell ü as u and two dots, keyboards type one character.
    spelled = [normalize("NFC", known) for known in G.class_names[: G.c_dim]]
    if normalize("NFC", name) not in spelled:
        raise UserError(f"class_idx={name}: there is no class of that name; {nearest(name, G.class_names)}")
    return spelled.index(normalize("NFC", name))
