"""Lambda layers that the function has beside its package: what is in them need not be in the package.

Source: Lambda developer guide, "Packaging your layer content": Python imports from `python` and
`python/lib/python3.x/site-packages` in a layer, below `/opt`.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from servey.core.errors import ConfigError
from servey.sls.packaging.requirements import normalized

_FOLDERS = (f"python/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages", "python")


@dataclass(frozen=True)
class Layers:
    """What layers contain.

    Shape: ``folders`` are imported from, in this order; ``names`` are the distributions in them, ``modules`` the modules.

    Units: ``size`` in bytes.
    """

    folders: tuple[Path, ...] = ()
    names: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    size: int = 0


def read_layers(places: Collection[Path], scratch: Path) -> Layers:
    """Copy layers, zip files or folders, into ``scratch`` and return what they contain.

    Errors: ConfigError for what is no layer.
    """
    folders: list[Path] = []
    for number, place in enumerate(places):
        copy = scratch / f"layer-{number}"
        if place.is_dir():
            shutil.copytree(place, copy, symlinks=True)
        elif zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive:
                archive.extractall(copy)
        else:
            raise ConfigError(f"--layer {place} is neither a zip file nor a folder; name the content of the layer")
        found = [copy / folder for folder in _FOLDERS if (copy / folder).is_dir()]
        if not found:
            raise ConfigError(
                f"--layer {place} has no folder {_FOLDERS[1]} or {_FOLDERS[0]}, from which Lambda imports; "
                f"install into it, e.g. with pip install --target {_FOLDERS[1]}"
            )
        folders += found
    paths = [str(folder) for folder in folders]
    installed = importlib.metadata.distributions(path=paths)
    # An installation that was interrupted leaves a folder that says nothing.
    known = [each for each in installed if each.read_text("METADATA") or each.read_text("PKG-INFO")]
    names = frozenset(normalized(each.name) for each in known)
    modules = frozenset(path.name.partition(".")[0] for folder in folders for path in folder.iterdir())
    size = sum(path.stat().st_size for path in scratch.glob("layer-*/**/*") if path.is_file())
    return Layers(tuple(folders), names, modules, size)


def leave_out_provided(layers: Layers, root: Path) -> None:
    """Remove from ``root`` the distributions that a layer contains too."""
    for distribution in list(importlib.metadata.distributions(path=[str(root)])):
        if normalized(distribution.name) in layers.names:
            for file in distribution.files or ():
                place = root / file
                if ".." not in file.parts and place.is_file():
                    place.unlink()
                    _remove_empty(place.parent, root)


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
