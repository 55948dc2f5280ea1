"""The content of Lambda layers, as `servey package --layer` reads it."""

import sys
import zipfile

import pytest

from servey import ConfigError
from servey.sls.packaging.layers import leave_out_provided, read_layers
from tests.serving import run
from tests.sls.layouts import wheel

SITE = f"python/lib/python3.{sys.version_info.minor}/site-packages"


def unpacked(top, name, folder):
    wheel(top, name, **{name: "X = 1\n"})
    with zipfile.ZipFile(top / f"{name}-1.0-py3-none-any.whl") as archive:
        archive.extractall(folder)


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("inside", ["python", SITE])
def test_a_layer_is_read(tmp_path, scratch, kind, inside):
    layer = tmp_path / "layer"
    unpacked(tmp_path, "one", layer / inside)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "layer.zip", "w") as archive:
            for path in layer.rglob("*"):
                if path.is_file():
                    archive.write(path, path.relative_to(layer))
        layer = tmp_path / "layer.zip"
    found = read_layers([layer], scratch)
    assert found.names == {"one"}
    assert (scratch / "layer-0" / inside / "one.py").is_file()
    assert scratch / "layer-0" / inside in found.folders
    assert found.size > 0


def test_what_a_layer_contains_too_is_removed(tmp_path, scratch):
    root = tmp_path / "task"
    unpacked(tmp_path, "one", root)
    unpacked(tmp_path, "two", root)
    unpacked(tmp_path, "one", tmp_path / "layer" / "python")
    leave_out_provided(read_layers([tmp_path / "layer"], scratch), root)
    assert sorted(path.name for path in root.iterdir()) == ["two-1.0.dist-info", "two.py"]


def test_what_is_no_layer_is_named(tmp_path, scratch):
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name, problem in (
        ("absent", "is neither a zip file nor a folder"),
        ("notes.txt", "is neither a zip file nor a folder"),
        ("empty", f"has no folder python or {SITE}"),
    ):
        with pytest.raises(ConfigError, match=problem):
            read_layers([tmp_path / name], scratch)
        for path in scratch.iterdir():
            path.rmdir()


def test_the_command_names_it_too(tmp_path):
    done = run("-m", "servey", "package", "--layer", "absent.zip", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: --layer absent.zip is neither a zip file nor a folder")


def test_what_an_interrupted_installation_left_in_a_layer_is_no_distribution(tmp_path, scratch):
    folder = tmp_path / "layer" / "python"
    unpacked(tmp_path, "shared", folder)
    (folder / "~hared-0.9.dist-info").mkdir()
    assert read_layers([tmp_path / "layer"], scratch).names == {"shared"}
