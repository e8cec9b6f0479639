"""Makes masks from words by transformers in torch, in three ways, with our weights, pictures and names.

What each way leaves out is in its favour: texts are tokens before the clock starts, pixels are prepared by a few lines
instead of transformers' processor, and masks stay arrays where ours become PNGs.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers.models.groupvit.modeling_groupvit import get_grouping_from_attentions

from bench.grouping import official
from export.grouping.network import GroupingNetwork
from sluice.methods.grouping import prompts, tokens


class Transformers:
    """`GroupViTModel` with one sentence per class; pictures have the network's own size."""

    def __init__(self, network: GroupingNetwork, names: Sequence[str], templates: str = "simple"):
        self.network = network
        (template,) = prompts.TEMPLATES[templates]
        ids = tokens.tokenizer()([template.replace("{}", name) for name in names]).ids
        lengths = ids.argmax(axis=1) + 1
        # Padded to the longest, as the tokenizer of transformers does with padding=True.
        self.ids = torch.from_numpy(ids[:, : lengths.max()])
        self.seen = torch.from_numpy((np.arange(lengths.max()) < lengths[:, None]).astype(np.int64))
        with torch.inference_mode():
            pooled = network.vit.text_model(input_ids=self.ids, attention_mask=self.seen).pooler_output
            self.texts = F.normalize(network.vit.text_projection(pooled), dim=-1)

    def pixels(self, encoded: Sequence[bytes]) -> Tensor:
        """Return encoded pictures of one size as the class takes them, [B, 3, H, W]."""
        images = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in encoded])
        return official.normal(self.network, torch.from_numpy(images).permute(0, 3, 1, 2).float())

    @torch.inference_mode()
    def asked(self, encoded: Sequence[bytes]) -> np.ndarray:
        """Return masks [B, H, W] as the class is documented: pictures and texts in one call, with
        `output_segmentation`."""
        out = self.network.vit(
            input_ids=self.ids, attention_mask=self.seen, pixel_values=self.pixels(encoded), output_segmentation=True
        )
        found: np.ndarray = out.segmentation_logits.argmax(dim=1).numpy()
        return found

    @torch.inference_mode()
    def kept(self, encoded: Sequence[bytes]) -> np.ndarray:
        """Return the same masks as a user does who keeps the texts' vectors, which needs calls to the inside of the
        class."""
        vit, pixels = self.network.vit, self.pixels(encoded)
        out = vit.vision_model(pixel_values=pixels, output_attentions=True)
        last = out.last_hidden_state
        groups = F.normalize(vit.visual_projection(last.reshape(-1, last.shape[-1])), dim=-1)
        scores = (groups @ self.texts.T).reshape(len(last), last.shape[1], -1)
        shares = get_grouping_from_attentions(out.attentions, pixels.shape[2:])
        maps = scores.transpose(1, 2) @ shares.flatten(2)
        found: np.ndarray = maps.argmax(dim=1).reshape(len(pixels), *pixels.shape[2:]).numpy()
        return found

    @torch.inference_mode()
    def official(self, encoded: Sequence[bytes]) -> np.ndarray:
        """Return masks as the authors evaluate: the encoder runs twice per picture, for shares and for vectors; texts
        are kept."""
        vit, found = self.network.vit, []
        for data in encoded:
            pixels = self.pixels([data])
            first = vit.vision_model(pixel_values=pixels, output_attentions=True)
            shares = first.attentions[0]
            for attention in first.attentions[1:]:
                shares = attention @ shares
            h, w = (side // official.PATCH for side in pixels.shape[2:])
            again = vit.vision_model(pixel_values=pixels)
            groups = F.normalize(vit.visual_projection(again.last_hidden_state[0]), dim=-1)
            whole = F.normalize(vit.visual_projection(again.pooler_output), dim=-1)[0]
            shares = shares[0].reshape(-1, h, w)
            scores = official.rule(self.network.scale, groups, whole, shares, self.texts, None, pixels.shape[2:])
            found.append(scores.argmax(dim=0).numpy())
        return np.stack(found)
