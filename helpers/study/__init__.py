"""What helps in studying: helpers copied whole, exercises that are judged."""

from helpers.study.checks import Verdict, check, solution
from helpers.study.snippets import show, snippet
