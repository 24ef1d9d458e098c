"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import helpers

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(helpers.__path__, "helpers.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str):
    # Through import_module, since a package may give a function the name of its module.
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_examples_are_found():
    finder = doctest.DocTestFinder()
    found = [example for name in MODULES for example in finder.find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in found) > 10
