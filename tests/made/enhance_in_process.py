"""The verb `enhance` asked in this process: requests as tensors, and the events that answer them."""

import asyncio
import io
import json

import numpy as np
from PIL import Image

from sluice.verbs.enhance import Config, Enhancer
from sluice.wire.calls import strings
from tests.made.video_networks import NETWORKS, Networks

CONFIG = Config(networks=NETWORKS)
RANDOM = np.random.default_rng(3)


def noise(*shape):
    """Return uint8 noise of this shape, different at each call."""
    return RANDOM.integers(0, 256, shape, np.uint8)


def given(**options):
    """Return the tensors of a request: IMAGES, RGB, PLANES or PACKETS by name, all other arguments as OPTIONS."""
    sources = {name: options.pop(name) for name in ("IMAGES", "RGB", "PLANES", "PACKETS") if name in options}
    made = {n: v if isinstance(v, np.ndarray) else strings(v) for n, v in sources.items()}
    return {**made, "OPTIONS": strings([json.dumps(options)])}


def facts(answer):
    """Return the JSON object of an answer's EVENT."""
    return json.loads(answer["EVENT"][0])


async def stream(enhancer, inputs, check=lambda: None):
    """Return the events that answer a request: (facts, tensors) each."""
    async with asyncio.timeout(30):  # a request that hangs fails its test
        return [(facts(answer), answer) async for answer in enhancer.enhance(inputs, check)]


def ask(networks=None, config=CONFIG, **options):
    """Return the events that answer one request to a new Enhancer: (facts, tensors) each."""

    async def run():
        return await stream(Enhancer(networks or Networks(), config), given(**options))

    return asyncio.run(run())


def kinds(events):
    """Return the kind of each event."""
    return [said["kind"] for said, _ in events]


def png(pixels):
    """Encode uint8 [H, W, 3] as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
