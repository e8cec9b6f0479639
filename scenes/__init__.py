"""A seeded generator of street scenes with labels, instances and captions. NumPy and Pillow only; nothing is downloaded.

scene = scenes.render(7, require={"motorcycle"}, time_of_day="night")
scene.image, scene.labels, scene.instances, scene.caption
"""

from scenes.scene import CLASSES, KINDS, TIMES, Instance, Scene, render

__all__ = ["CLASSES", "KINDS", "TIMES", "Instance", "Scene", "render"]
