"""Screenshots held against small golden pictures: blocks of pixels, so that fonts may differ and a layout may not.

`EUREKA_GOLDEN=write` writes them anew: look at what changed before you keep them.
"""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "data" / "golden"
BLOCKS = 50
"""Along the width."""
Picture = NDArray[np.uint8]


def decoded(png: bytes) -> Picture:
    """`(height, width, 3)`."""
    with av.open(io.BytesIO(png), format="png_pipe") as container:
        (frame,) = container.decode(video=0)
        return frame.to_ndarray(format="rgb24")


def encoded(picture: Picture) -> bytes:
    """The other way."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def shrunk(picture: Picture) -> Picture:
    """Means of square blocks."""
    side = picture.shape[1] // BLOCKS
    rows = picture.shape[0] // side
    blocks = picture[: rows * side, : BLOCKS * side].reshape(rows, side, BLOCKS, side, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def difference(png: bytes, name: str) -> float:
    """Mean difference of the screenshot's blocks from the golden picture's, 0 to 1."""
    seen, path = shrunk(decoded(png)), FOLDER / f"{name}.png"
    if os.environ.get("EUREKA_GOLDEN") == "write":
        path.write_bytes(encoded(seen))
    golden = decoded(path.read_bytes())
    assert golden.shape == seen.shape, f"{path}: {golden.shape}, the screenshot comes to {seen.shape}"
    return float(np.abs(golden.astype(float) - seen).mean() / 255)
