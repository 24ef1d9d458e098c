"""All exercises, one file a notebook: the task, right and wrong solutions, the cases."""

from importlib import import_module
from pkgutil import iter_modules

from helpers.study.exercises.exercise import Exercise


def _collect() -> dict[str, Exercise]:
    names = sorted(module.name for module in iter_modules(__path__))
    modules = [import_module(f"{__name__}.{n}") for n in names if n.startswith("notebook_")]
    found = [each for module in modules for each in vars(module).values()]
    return {each.name: each for each in found if isinstance(each, Exercise)}


EXERCISES: dict[str, Exercise] = _collect()
