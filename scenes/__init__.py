"""Generates street scenes from seeds, with labels, instances and captions. NumPy and Pillow only; no downloads.

`render` draws one scene from one seed; `drive` takes pictures of one drive along one street, `film` a video.
"""

from scenes.driving import Frame, drive, film
from scenes.labels import CLASSES, KINDS
from scenes.scene import TIMES, Instance, Scene, render

__all__ = ["CLASSES", "KINDS", "TIMES", "Frame", "Instance", "Scene", "drive", "film", "render"]
