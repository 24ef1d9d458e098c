"""Drawings made while a network trains: none twice, and the same whoever draws them."""

import numpy as np
import torch

from helpers.data import CLASSES, DrawnCards, make_drawing_loader, mix_seed, render_card


def test_no_drawing_is_seen_twice_and_workers_change_none():
    def batches(epoch, skip=0, workers=0):
        loader = make_drawing_loader(1, [16, 24], batch_size=20, seed=5, workers=workers)
        loader.set_epoch(epoch, skip)
        return list(loader)

    first, second = batches(1), batches(2)
    assert [images.shape[2] for images, _ in first + second] == [16] * 3 + [24] * 3
    assert sorted(torch.cat([targets for _, targets in first]).tolist()) == list(range(53))
    third = batches(3)
    seen = {image.numpy().tobytes() for images, _ in second + third for image in images}
    assert len(seen) == 106
    for (one, its), (other, others) in zip(third[1:], batches(3, skip=1, workers=2), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(its, others)


def test_the_drawings_are_those_of_render_card():
    cards = DrawnCards(2, [32], seed=1)
    image, target = cards[4, 60]
    assert target == 7
    picture = render_card(CLASSES[7], mix_seed(1, 4, 60), 32, wide=True)
    pixels = (image.permute(1, 2, 0) + 1) * 127.5
    assert np.abs(pixels.numpy() - np.asarray(picture, float)).max() < 1e-3
