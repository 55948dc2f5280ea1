"""The methods of dataclasses that a package contains compiled are those that Python would compile."""

import dataclasses
import marshal
from importlib.util import MAGIC_NUMBER
from types import CodeType

import pytest

from servey.compat.generated_methods import generated_methods
from servey.sls.package import compile_methods
from servey.sls.packaging.isolated import note_methods


def point(**options):
    """Define a dataclass and return it."""

    @dataclasses.dataclass(**options)
    class Point:
        x: int
        y: int = 0
        names: list[str] = dataclasses.field(default_factory=list)

    return Point


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """The file with the methods of `point`."""
    monkeypatch.setitem(vars(dataclasses), "exec", exec)
    sources = note_methods()
    point()
    point(frozen=True, order=True)
    monkeypatch.delitem(vars(dataclasses), "exec")
    file = tmp_path / "methods.bin"
    compile_methods(file, sorted(sources))
    return file


def read(file):
    data = file.read_bytes()
    return data[: len(MAGIC_NUMBER)], marshal.loads(data[len(MAGIC_NUMBER) :])


def test_a_dataclass_is_the_same_with_them(compiled):
    with generated_methods(compiled):
        made = point(frozen=True, order=True)
    assert "exec" not in vars(dataclasses)
    assert repr(made(1)) == repr(point(frozen=True, order=True)(1))
    assert made(1) == made(1, 0, []) < made(2)
    assert hash(made(1, 2, ())) == hash((1, 2, ()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made(1).x = 2
    assert made.__init__.__annotations__ == point().__init__.__annotations__


def test_each_of_its_methods_is_taken_from_the_file(compiled):
    """A file in which every source is compiled to something else shows which ones are used."""
    magic, known = read(compiled)
    assert len(known) >= 3
    assert all(isinstance(code, CodeType) for code in known.values())
    other = compile("def __create_fn__(*given, **named):\n    return lambda *self: 'from the file'", "<string>", "exec")
    compiled.write_bytes(magic + marshal.dumps(dict.fromkeys(known, other)))
    with generated_methods(compiled):
        made = point()

        @dataclasses.dataclass
        class Another:
            of_its_own: int

    assert made.__repr__(None) == "from the file"
    assert repr(Another(1)).endswith("Another(of_its_own=1)")


@pytest.mark.parametrize(
    "content", [None, b"", b"\0\0\0\0" + marshal.dumps({})], ids=["absent", "empty", "another Python"]
)
def test_without_a_file_of_this_python_everything_is_compiled(tmp_path, content):
    file = tmp_path / "methods.bin"
    if content is not None:
        file.write_bytes(content)
    with generated_methods(file):
        assert "exec" not in vars(dataclasses)
        assert point()(1).x == 1
