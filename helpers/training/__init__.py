"""The training loop and what it needs: a device, a seed, checkpoints."""

from helpers.data.seeding import seed_everything
from helpers.training.callbacks import (
    ClipGradients,
    ExponentialMovingAverage,
    FiniteGradients,
    KeepBest,
    LiveCurves,
    Log,
    ProgressBar,
    Schedule,
    StopEarly,
)
from helpers.training.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from helpers.training.finder import find_learning_rate
from helpers.training.loop import (
    History,
    evaluate,
    fit,
    measure,
    predict_logits,
    train_mode,
    train_one_epoch,
)
from helpers.training.losses import cross_entropy, distillation_loss, focal_loss
from helpers.training.machine import keep_freed_memory, pick_device
from helpers.training.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    CombinedOptimizer,
    Lion,
    Muon,
    OptimizerTemplate,
    RMSprop,
    clip_gradients,
)
from helpers.training.schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    FactorSchedule,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)
