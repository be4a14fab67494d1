"""Pillow reads and writes .dctc: `Image.open`, `load`, `draft`, `thumbnail`, `save`.

    register()
    Image.open("photo.jpg").save("photo.dctc", quality=60)
    Image.open("photo.dctc").show()

Opening reads and checks the file but decodes nothing; what costs time to import comes with the
first `load` or `save`.
"""

from __future__ import annotations

from typing import IO, Any, Final

from PIL import Image, ImageFile

from .alpha import unpack_alpha
from .container import MAGIC, MAX_SIDE, Mode, read
from .errors import BitstreamError, DctcodecError
from .pictures import EXIF_PREFIX

__all__ = ["DctcImageFile", "register"]

FORMAT: Final = "DCTC"
SUFFIX: Final = ".dctc"
MIME: Final = "image/x-dctc"
ANY_SIZE: Final = MAX_SIDE**2  # here `Image.MAX_IMAGE_PIXELS` is the limit, which Pillow applies


class DctcImageFile(ImageFile.ImageFile):
    """A .dctc file in Pillow, of mode L, LA, RGB or RGBA.

    `info` holds `quality` (0…100), `layers` (below the context), and where the file has them
    `icc_profile` and `exif`. Where `ImageFile.LOAD_TRUNCATED_IMAGES` is set, a damaged file is
    salvaged: each tile up to its first bad layer.

    Raises:
        OSError: on opening or loading: the file is damaged or cut short.
        ModelError: on loading: the model that wrote the file is not installed.
    """

    format = FORMAT
    format_description = "dctcodec neural image"
    _file: bytes | None = None  # all bytes, until they have been decoded
    _damage: Mode = "default"

    def _open(self) -> None:
        assert self.fp is not None
        self._file = self.fp.read()
        if self.filename:  # Pillow has opened the file, and nobody needs it any more
            self.fp.close()
            self.fp = None
        self._damage = "salvage" if ImageFile.LOAD_TRUNCATED_IMAGES else "default"
        try:
            container = read(self._file, mode=self._damage, max_pixels=ANY_SIZE)
        except BitstreamError as error:
            raise OSError(str(error)) from error
        header = container.header
        self._alpha = container.extra("alpha")
        self._size = header.width, header.height
        self._mode = ("L" if header.grayscale else "RGB") + ("A" if self._alpha else "")
        self.info |= {"quality": header.quality, "layers": header.layers}
        if icc := container.extra("icc"):
            self.info["icc_profile"] = icc
        if exif := container.extra("exif"):
            self.info["exif"] = EXIF_PREFIX + exif

    def load(self) -> Any:  # Pillow's PixelAccess, which it does not make public
        """Decode, once; later calls are free."""
        if self._file is not None:
            from .api import decode

            try:
                image = decode(self._file, mode=self._damage, max_pixels=ANY_SIZE)
            except BitstreamError as error:
                raise OSError(str(error)) from error
            self._become(image)
        return super().load()

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Take the thumbnail in the context for the picture, where it has the pixels wanted.

        Args:
            mode: not regarded.
            size: (width, height) wanted, at least.

        Returns:
            the mode, and the part of the thumbnail that the picture covers; None if a side wanted
            is larger than an eighth of the picture's, or the file has been decoded already.
        """
        width, height = self.size
        if self._file is None or size is None or 8 * size[0] > width or 8 * size[1] > height:
            return None
        from .preview import thumbnail

        try:
            image = Image.fromarray(thumbnail(self._file, scale=4, max_pixels=ANY_SIZE))
            if self._alpha:
                alpha = Image.fromarray(unpack_alpha(self._alpha, width, height))
                image.putalpha(alpha.reduce(8))
        except DctcodecError:
            return None  # whatever is wrong, `load` will say it
        self._become(image)
        return self.mode, (0, 0, width / 8, height / 8)

    def _become(self, image: Image.Image) -> None:
        """Take the samples of another image, and let go of the file."""
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self._file = self._alpha = None


def register() -> None:
    """Make Pillow know the format; calling it again changes nothing."""
    Image.register_open(FORMAT, DctcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """`Image.save`; `quality`, `layers`, `tile`, `device` and `strip` are those of `api.encode`.

    EXIF and ICC profile are those of the image unless `exif` or `icc_profile` are given; None
    leaves them out.
    """
    from .api import encode

    wanted: dict[str, Any] = image.encoderinfo
    metadata = {key: wanted[key] for key in ("exif", "icc_profile") if key in wanted}
    if metadata:
        image = image.copy()
        for key, value in metadata.items():
            image.info[key] = value.tobytes() if isinstance(value, Image.Exif) else value
    names = ("quality", "layers", "tile", "device", "strip")
    settings = {key: wanted[key] for key in names if key in wanted}
    file.write(encode(image, **settings, max_pixels=ANY_SIZE))
