"""Example: make a thumbnail with Pillow, in a process of its own.

Pillow is optional: pip install 'taskqueue[images]', or pip install pillow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taskqueue import Discard, task


@dataclass
class Thumbnail:
    """What to shrink, where to put it, and how large it may be."""

    source: str
    target: str
    width: int = 320
    height: int = 320


@task(queue="images", timeout="1m", process=True, max_attempts=2)
def thumbnail(image: Thumbnail) -> dict[str, object]:
    """Writes the picture at ``source`` to ``target``, no larger than ``width`` × ``height``."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise Discard("Pillow is not installed; run: pip install pillow") from None
    try:
        with Image.open(image.source) as picture:
            picture.thumbnail((image.width, image.height))
            picture.save(image.target)
            width, height = picture.size
    except (FileNotFoundError, UnidentifiedImageError) as error:
        raise Discard(str(error)) from None
    return {"target": image.target, "width": width, "height": height, "bytes": Path(image.target).stat().st_size}
