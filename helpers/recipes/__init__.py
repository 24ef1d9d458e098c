"""Whole trainings, from a folder of pictures to numbers: to be shown, run and changed."""

from helpers.recipes.fine_tuning import fine_tune
from helpers.recipes.from_scratch import train_from_scratch, train_on_drawings
from helpers.recipes.trained import Trained
