"""All exercises, in the order of the notebooks: the task, right and wrong solutions, the cases."""

from helpers.study.exercises import bugs, data, evaluation, models, training
from helpers.study.exercises.exercise import Exercise

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in sorted(
        (
            *data.EXERCISES,
            *models.EXERCISES,
            *training.EXERCISES,
            *evaluation.EXERCISES,
            *bugs.EXERCISES,
        ),
        key=lambda exercise: exercise.notebook,
    )
}
