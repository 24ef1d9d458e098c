"""What helps in studying: helpers copied whole, exercises that are judged, and practice in time."""

from helpers.study.checks import Verdict, check, solution
from helpers.study.overview import plan, progress
from helpers.study.repetition import again, answers, hint, practice, reveal
from helpers.study.snippets import show, snippet
