"""Compressed collections as datasets for training."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_help import picture
from torch.utils.data import DataLoader

from dctcodec.codec import dataset as module
from dctcodec.codec.api import decode, encode
from dctcodec.codec.dataset import CompressedFolder, CompressedTars, Decoding
from dctcodec.codec.errors import ImageError, UsageError
from dctcodec.codec.preview import thumbnail

NAMES = ["a.dctc", "b/c.dctc", "b/d.png.dctc", "e.dctc", "f.dctc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five files in photos/, all in all.tar, and dealt to 0.tar and 1.tar."""
    root = tmp_path_factory.mktemp("dataset")
    members = {}
    for seed, name in enumerate(NAMES):
        image = picture(seed).convert("L") if seed == 3 else picture(seed)
        members[name] = encode(image, 40)
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(members[name])
    (root / "photos/label.txt").write_text("no file of ours")
    for tar, names in {"all": NAMES, "0": NAMES[:2], "1": NAMES[2:]}.items():
        with tarfile.open(root / f"{tar}.tar", "w") as out:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(members[name])
                out.addfile(info, io.BytesIO(members[name]))
    return root


def wanted(folder: Path, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = np.asarray(decode((folder / "photos" / name).read_bytes()).convert("RGB"))
    return pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("spec", ["photos", "all.tar", "photos/**/*.dctc"])
def test_a_folder_a_tar_and_a_glob_give_the_same_pictures(folder: Path, spec: str) -> None:
    data = CompressedFolder(str(folder / spec))
    assert len(data) == len(NAMES)
    for name, pixels in (data[i] for i in range(len(data))):
        assert pixels.dtype == torch.uint8
        np.testing.assert_array_equal(pixels.numpy(), wanted(folder, name))


def test_fewer_layers_and_previews_are_to_be_had(folder: Path) -> None:
    data = (folder / "photos/a.dctc").read_bytes()
    (name, coarse), *_ = CompressedFolder(str(folder / "photos"), Decoding(layers=0))
    assert name == "a.dctc"
    expected = np.asarray(decode(data, layers=0)).transpose(2, 0, 1)
    np.testing.assert_array_equal(coarse.numpy(), expected)
    (_, all_there), *_ = CompressedFolder(str(folder / "photos"), Decoding(layers=99))
    np.testing.assert_array_equal(all_there.numpy(), wanted(folder, "a.dctc"))
    (_, small), *_ = CompressedFolder(str(folder / "photos"), Decoding(preview=True))
    np.testing.assert_array_equal(small.numpy(), thumbnail(data).transpose(2, 0, 1))
    with pytest.raises(UsageError, match="one of the two"):
        Decoding(preview=True, layers=1)


def test_a_transform_makes_batches_possible(folder: Path) -> None:
    crop = Decoding(preview=True, transform=lambda x: x[:, :4, :4].float() / 255)
    (_, batch), *_ = DataLoader(CompressedFolder(str(folder / "photos"), crop), batch_size=3)
    assert batch.shape == (3, 3, 4, 4)


@pytest.mark.parametrize("tars", [["all"], ["0", "1"]])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_readers_share_shards_without_gap_or_double(
    folder: Path, tars: list[str], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = CompressedTars([str(folder / f"{t}.tar") for t in tars], Decoding(preview=True))
    seen = []
    for worker in range(workers):
        monkeypatch.setattr(module, "_share", lambda worker=worker: (worker, workers))
        seen += [name for name, _ in data]
    assert sorted(seen) == sorted(NAMES)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks, in newer Pythons
def test_loader_processes_decode_each_picture_once(folder: Path) -> None:
    found = {}
    for data in (
        CompressedFolder(str(folder / "all.tar"), Decoding(preview=True)),
        CompressedTars(str(folder / "all.tar"), Decoding(preview=True)),
    ):
        loader = DataLoader(data, batch_size=None, num_workers=2)
        rows = list(loader)
        assert sorted(name for name, _ in rows) == sorted(NAMES)
        found = dict(rows)
    data_a = (folder / "photos/a.dctc").read_bytes()
    np.testing.assert_array_equal(found["a.dctc"].numpy(), thumbnail(data_a).transpose(2, 0, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_loader_processes_decode_whole_pictures(folder: Path) -> None:
    loader = DataLoader(
        CompressedFolder(str(folder / "photos")),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    for name, pixels in loader:
        np.testing.assert_array_equal(pixels.numpy(), wanted(folder, name))


def test_what_is_no_collection_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        CompressedFolder(str(tmp_path / "none"))
    with pytest.raises(ImageError, match=r"no \.dctc file"):
        CompressedFolder(str(tmp_path))
    (tmp_path / "cut.tar").write_bytes((folder / "all.tar").read_bytes()[:700])
    with pytest.raises(ImageError, match=r"cut\.tar"):
        list(CompressedTars(str(tmp_path / "cut.tar")))
