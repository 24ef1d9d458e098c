"""A clear word about pictures that do not fit a network, before a layer deep within it fails."""

from torch import Tensor


def check_images(images: Tensor, in_channels: int, side: int, exactly: bool = False) -> None:
    """Raise unless `images` is a batch `(B, in_channels, H, W)` of a size the network can take.

    Args:
        images: what a network was given.
        in_channels: channels that its first layer expects.
        side: smallest height and width in pixels, or the only one.
        exactly: whether height and width have to be `side`, as for networks with a weight for
            every place.

    Raises:
        ValueError: naming the shape that was found and the sizes that work.

    >>> import torch
    >>> check_images(torch.zeros(8, 3, 16, 16), in_channels=3, side=32)
    Traceback (most recent call last):
    ValueError: images have the shape (8, 3, 16, 16); expected a batch (B, 3, H, W) with H and W of at least 32
    """  # noqa: E501 - the message is one line.
    fits = images.ndim == 4 and images.shape[1] == in_channels
    if fits and exactly:
        fits = tuple(images.shape[2:]) == (side, side)
    elif fits:
        fits = min(images.shape[2:]) >= side
    if not fits:
        sizes = (
            f"of {side}, its image_size: resize the images or build the model for theirs"
            if exactly
            else f"of at least {side}"
        )
        raise ValueError(
            f"images have the shape {tuple(images.shape)}; "
            f"expected a batch (B, {in_channels}, H, W) with H and W {sizes}"
        )
