"""Patch features of a frozen image network (DINOv2 and its like) in place of the attending network's own.

The weights are looked for on this machine alone, never fetched: where they are not, that is said.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from envs.errors import EmbodiedError, unknown

PUBLISHED = {
    "dinov2_vits14": ("facebook/dinov2-small", 384),
    "dinov2_vitb14": ("facebook/dinov2-base", 768),
}
"""Names in `torch.hub`, the same networks' names for transformers, and their widths."""
PATCH = 14
"""Pixels of a patch's side in all of them."""
MEAN, SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation that they were trained with (ImageNet's)."""


@runtime_checkable
class PatchFeatures(Protocol):
    """A frozen network that describes an image patch by patch."""

    width: int
    """Features of a patch."""
    patch: int
    """Side of a patch [pixel]."""

    def __call__(self, images: Tensor) -> Tensor:
        """Features `[B width g g]` of normalised images `[B 3 g*patch g*patch]`."""
        ...


class FrozenAttend(nn.Module):
    """Attention from frozen patch features: one trained linear map to keys, the same queries and competition.

    Give it to `PixelEncoder(config, attend=FrozenAttend(...))`. The frozen network is no part of its weights.
    """

    def __init__(self, features: PatchFeatures, grid: int = 16, width: int = 32) -> None:
        """`grid` patches along a side: the image is scaled to `grid * patch` pixels."""
        super().__init__()
        self._features, self._side = (features,), grid * features.patch
        self.key = nn.Conv2d(features.width, width + 1, 1)
        self.query = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, width))

    def forward(self, pixels: Float[Tensor, "B C 3 h w"], queries: Float[Tensor, "B K 3"]) -> Tensor:
        """Logits `[B C K+1 g g]`, the background last."""
        B, C = pixels.shape[:2]
        # Back to 0..1 from what `pixels.prepare` made, then as the frozen network had it.
        colour = (pixels.flatten(0, 1) * 64.0 + 127.5) / 255.0
        mean, scale = colour.new_tensor(MEAN)[:, None, None], colour.new_tensor(SCALE)[:, None, None]
        image = functional.interpolate(
            (colour - mean) / scale, (self._side, self._side), mode="bilinear", antialias=True
        )
        with torch.no_grad():
            patches = self._features[0](image)
        keys = self.key(functional.layer_norm(patches.float().movedim(1, -1), patches.shape[1:2]).movedim(-1, 1))
        keys = keys.reshape(B, C, -1, *keys.shape[-2:])
        objects = torch.einsum("bkd,bcdij->bckij", self.query(2.0 * queries - 1.0), keys[:, :, :-1])
        return torch.cat([objects, keys[:, :, -1:]], 2)


def load_frozen(name: str = "dinov2_vits14") -> PatchFeatures:
    """A published network from this machine's caches of `torch.hub` or transformers.

    Raises `EmbodiedError` for an unknown name, or saying where was looked when the weights are not here.
    """
    if name not in PUBLISHED:
        raise unknown("frozen network", name, PUBLISHED)
    model = _from_hub(name) or _from_transformers(PUBLISHED[name][0])
    if model is None:
        hub = Path(torch.hub.get_dir())
        raise EmbodiedError(
            f"The weights of {name} are not on this machine: neither in {hub} (torch.hub) nor in the cache of "
            f"transformers ({PUBLISHED[name][0]}). Nothing is downloaded here; put them there, or train without: "
            "embodied pixels."
        )
    return _Patches(model, PUBLISHED[name][1])


class _Patches:
    """One of the published networks as `PatchFeatures`."""

    patch = PATCH

    def __init__(self, model: Any, width: int) -> None:
        self.model, self.width = model.eval().requires_grad_(False), width

    def __call__(self, images: Tensor) -> Tensor:
        grid = images.shape[-1] // self.patch
        if hasattr(self.model, "forward_features"):
            tokens = self.model.forward_features(images)["x_norm_patchtokens"]
        else:
            tokens = self.model(pixel_values=images).last_hidden_state[:, 1:]
        features: Tensor = tokens.transpose(1, 2).unflatten(2, (grid, grid))
        return features


def _from_hub(name: str) -> Any | None:
    """The network where `torch.hub` keeps both its code and its weights."""
    hub = Path(torch.hub.get_dir())
    code, weights = hub / "facebookresearch_dinov2_main", hub / "checkpoints" / f"{name}_pretrain.pth"
    if not (code.is_dir() and weights.is_file()):
        return None
    return torch.hub.load(str(code), name, source="local")


def _from_transformers(name: str) -> Any | None:
    """The network from the cache of transformers, where that is installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    try:
        return importlib.import_module("transformers").AutoModel.from_pretrained(name, local_files_only=True)
    except OSError:
        return None
