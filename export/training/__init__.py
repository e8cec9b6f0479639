"""What all trainings share: data (`camvid`, `crops`, `dead_leaves`), the loop, and the options of the command line.

Imports the standard library alone, so that the table of exports can name the data without torch.
"""

from __future__ import annotations

from typing import Any

# What a model card says of weights trained on CamVid whose training record names neither data nor licence.
CAMVID: dict[str, Any] = {
    "data": "CamVid drives 0016E5 and 0001TP, and generated street scenes (`scenes`); drive 0006R0 is held out",
    "licence": "CamVid is CC BY-NC 4.0: these weights are for research, not for commerce",
}
