"""A clear word about pictures that do not fit a network, before a layer deep within it fails."""

import torch.fx
from torch import Tensor


def check_images(images: Tensor, in_channels: int, side: int, exactly: bool = False) -> None:
    """Raise unless `images` is a batch `(B, in_channels, H, W)` of a size the network can take.

    The stand-in with which `torch.fx` traces has no shape yet, and passes.

    Args:
        images: what the network was given.
        in_channels: channels that its first layer expects.
        side: smallest height and width in pixels.
        exactly: whether no larger ones will do, as where there is a weight for every place.

    Raises:
        ValueError: naming the shape that was found and the sizes that work.

    >>> import torch
    >>> check_images(torch.zeros(8, 3, 64, 48), in_channels=3, side=32)
    """
    if isinstance(images, torch.fx.Proxy):
        return
    sides = images.shape[2:]
    # Each side by itself: to compare the two would tie them together under torch.export.
    fits = images.ndim == 4 and images.shape[1] == in_channels and all(s >= side for s in sides)
    if not fits or (exactly and any(s > side for s in sides)):
        sizes = f"{side}, its image_size" if exactly else f"at least {side}"
        raise ValueError(
            f"images have the shape {tuple(images.shape)}; "
            f"expected a batch (B, {in_channels}, H, W) with H and W of {sizes}"
        )
