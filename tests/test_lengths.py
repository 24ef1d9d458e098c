"""What a reader copies is short: how long each short form may be, with all that it stands on."""

from statistics import median

import pytest

from helpers.study import snippet

# Names, apart where they are copied together, and lines as `show` prints them.
LINES = {
    "evaluate": 35,
    "train_one_epoch": 60,
    "fit": 130,  # With keeping the best.
    "CardDataset": 70,
    "BatchLoader": 78,
    "make_loaders": 161,
    "SGD": 55,
    "Adam": 65,
    "OneCycleLR": 50,
    "cross_entropy": 40,
    "LeNet5": 100,
    "CardCNN": 100,
    "VGG": 100,
    "ResNet": 100,
    "MobileNetV2": 100,
    "EfficientNetLite": 100,
    "ConvNeXt": 100,
    "ViT": 100,
    "MLPMixer": 100,
    "Checkpoint": 141,  # With saving and loading. The aim is 90.
}
ARCHITECTURES = [name for name, lines in LINES.items() if lines == 100]
OTHERS = [
    "stratified_split",
    "Augment",
    "read_picture",
    "create_pretrained",
    "find_learning_rate",
    "ExponentialMovingAverage",
    "trace_shapes",
    "confusion_matrix",
    "per_class_report",
    "wilson_interval",
    "Muon",
    "ReduceLROnPlateau",
    "seed_everything",
]


def length(names: str) -> int:
    return len(snippet(*names.split()).splitlines())


@pytest.mark.parametrize("names", LINES)
def test_a_short_form_is_short(names):
    assert length(names) <= LINES[names]


def test_half_of_the_short_forms_are_shorter_still():
    one_each = [names for names in LINES if names not in ARCHITECTURES]
    one_each.append(max(ARCHITECTURES, key=length))  # The longest stands for all nine.
    lengths = {names: length(names) for names in [*one_each, *OTHERS]}
    assert len(lengths) == 25
    assert median(lengths.values()) <= 60, lengths
