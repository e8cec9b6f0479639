"""The parts that all trainings share: pictures (`camvid`, `crops`, `dead_leaves`), the loop, the command's options.

Imports nothing, so that the table of exports can name the data without torch.
"""

# A model card's words on weights that CamVid trained, where their training record names neither data nor licence.
CAMVID_DATA = "CamVid drives 0016E5 and 0001TP, and generated street scenes (`scenes`); drive 0006R0 is held out"
CAMVID_LICENCE = "CamVid is CC BY-NC 4.0: these weights are for research, not for commerce"
CAMVID_USE = "CamVid is CC BY-NC 4.0, research use: so are these weights"  # in the record of a training
# The licence of weights that were trained on generated pictures alone.
GENERATED_LICENCE = "Apache-2.0, as this project: only pictures were read that its own code draws"
