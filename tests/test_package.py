"""What the package shows to the world: its names, its folders, its files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dctcodec
from dctcodec.codec import errors
from dctcodec.models import weights

ROOT = Path(__file__).parents[1]

PUBLIC = [
    "BitstreamError",
    "DctcodecError",
    "ImageError",
    "ModelError",
    "OutputError",
    "UsageError",
    "decode",
    "encode",
    "info",
    "preview",
]


def python(code: str) -> str:
    """What `code` prints in a fresh interpreter, in which warnings are errors."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_public_names_are_these() -> None:
    assert sorted(dctcodec.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(dctcodec, name).__doc__, name


def test_every_error_of_the_tree_is_public() -> None:
    assert set(errors.__all__) <= set(dctcodec.__all__)


def test_no_folder_of_the_package_is_a_module_of_its_own() -> None:
    # The folders lie at the root, which is on sys.path here: a bare `import codec` would make a
    # second copy of each class, and would take a common name from other projects.
    code = """
import sys, dctcodec, dctcodec.codec.cli
print([name for name in ("codec", "models", "eval", "data") if name in sys.modules])
"""
    assert python(code) == "[]"


def test_importing_the_package_does_not_load_torch() -> None:
    # torch takes seconds; info and preview must answer at once.
    code = "import sys, dctcodec, dctcodec.codec.cli; print('torch' in sys.modules)"
    assert python(code) == "False"


def test_the_command_line_does_not_load_rich_for_help() -> None:
    code = """
import sys
from typer.testing import CliRunner
from dctcodec.codec.cli import app
assert CliRunner().invoke(app, ["encode", "--help"]).exit_code == 0
print([name for name in ("torch", "rich", "skimage") if name in sys.modules])
"""
    assert python(code) == "[]"


def test_the_version_is_the_same_everywhere() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{dctcodec.__version__}"\n' in pyproject
    assert f"\n## {dctcodec.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("words", ['pip install -c constraints.txt -e ".[dev,eval]"', "pytest -q"])
def test_continuous_integration_uses_the_words_of_the_readme(words: str) -> None:
    assert f"\n{words}\n" in (ROOT / "README.md").read_text()
    assert f"\nstep {words}\n" in (ROOT / ".ci" / "run").read_text()


def test_nothing_ignored_by_git_is_part_of_the_package() -> None:
    # Ignored files stay out of wheels without a word.
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    patterns = [line.strip("/") for line in ignored if line and not line.startswith("#")]
    for name in ("data", "models", "codec", "eval", "*.safetensors", "weights"):
        assert name not in patterns


@pytest.mark.slow
def test_the_wheel_holds_all_that_the_folders_hold(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    for folder in ("codec", "models", "eval", "data"):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"dctcodec/{path.relative_to(ROOT).as_posix()}" in held
    for name in ("__init__.py", "__main__.py", "py.typed"):
        assert f"dctcodec/{name}" in held
    models = {f"dctcodec/models/weights/{p.name}" for _, _, p in weights.released()}
    assert models == {name for name in held if name.startswith("dctcodec/models/weights/")}
    assert f"dctcodec/models/weights/{weights.DEFAULT_MODEL}.safetensors" in models
    roots = {name.split("/")[0] for name in held}
    assert all(name == "dctcodec" or name.endswith(".dist-info") for name in roots)
