"""The questions that a sentence answers: one list, in `questions.md`, for drills and notebooks."""

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("questions.md")
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        notebook: number of the notebook that answers it.
        text: the question, in Markdown.
        answer: a sentence or two, in Markdown.
        cell: id of the cell in which the notebook answers it.
    """

    notebook: str
    text: str
    answer: str
    cell: str

    @property
    def name(self) -> str:
        """What it is called in the record, so that its words may be mended."""
        return f"{self.notebook}/{self.cell}"

    @property
    def link(self) -> str:
        """The address of the answering cell, which JupyterLab follows."""
        (path,) = NOTEBOOKS.glob(f"{self.notebook}_*.ipynb")
        return f"{path.name}#cell-id={self.cell}"


def read_questions(text: str | None = None) -> list[Question]:
    """Return the questions of a text, by default of `questions.md`, in their order.

    Raises:
        ValueError: if a question has no answer, or no line that names the cell.

    >>> read_questions("## 04\\n### What moves a weight?\\nA step.\\n\\ncell: step\\n")[0].name
    '04/step'
    """
    questions = []
    for part in re.split(r"^## ", FILE.read_text("utf-8") if text is None else text, flags=re.M)[
        1:
    ]:
        notebook, *blocks = re.split(r"^### ", part, flags=re.M)
        for block in blocks:
            found = re.fullmatch(r"([^\n]+)\n+(.+?)\n+cell: *(\S+)\s*", block, re.DOTALL)
            if not found:
                raise ValueError(f"{block.strip()!r} is no question, answer and `cell: its id`")
            questions.append(Question(notebook.strip(), *map(str.strip, found.groups())))
    return questions
