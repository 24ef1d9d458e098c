"""How good a trained model is, and where it fails."""

from helpers.evaluation.classifier import Classifier
from helpers.evaluation.metrics import (
    accuracy,
    confusion_matrix,
    per_class_report,
    rank_and_suit_accuracy,
    top_k_accuracy,
    wilson_interval,
    worst_mistakes,
)
from helpers.evaluation.studies import (
    compare_arms,
    describe_difference,
    read_study,
    summarise_study,
)
from helpers.training.loop import predict_logits
