"""All exercises, one file a notebook: the task, right and wrong solutions, the cases."""

from importlib import import_module
from pkgutil import iter_modules

from helpers.study.exercises.exercise import Exercise


def _collect() -> dict[str, Exercise]:
    names = sorted(module.name for module in iter_modules(__path__))
    files = [name for name in names if name.startswith("notebook_")]
    return {each.name: each for file in files for each in exercises_in(file)}


def exercises_in(file: str) -> list[Exercise]:
    """The exercises of a file, such as "notebook_03", in their order."""
    parts = vars(import_module(f"{__name__}.{file}")).values()
    found = [getattr(part, "exercise", part) for part in parts]
    return [each for each in found if isinstance(each, Exercise)]


EXERCISES: dict[str, Exercise] = _collect()
