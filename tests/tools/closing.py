"""Write the questions of helpers/study/questions.md into the notebooks, which close with them.

python -m tests.tools.closing
"""

import json
from pathlib import Path

from helpers.study.questions import NOTEBOOKS, read_questions

CELL = "questions"  # The id of the cell, which stands before the one that points to the next.


def closing_cell(notebook: str) -> str:
    """Return the Markdown with which a notebook closes: its questions, their answers folded."""
    text = "## Questions\n\nEach can be answered in a sentence. Say yours, then unfold."
    for question in read_questions():
        if question.notebook == notebook:
            text += (
                f"\n\n**{question.text}**\n\n<details><summary>Answer</summary>\n\n"
                f"{question.answer} [Where it is shown]({question.link}).\n</details>"
            )
    return text


def write_closing(path: Path) -> None:
    """Bring the closing cell of a notebook up to date, or add it; all else stays byte for byte."""
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    cells = notebook["cells"]
    if all(cell["id"] != CELL for cell in cells):
        place = len(cells) - (cells[-1]["id"] == "next")
        cells.insert(place, {"cell_type": "markdown", "id": CELL, "metadata": {}, "source": []})
    source = closing_cell(path.name[:2]).splitlines(keepends=True)
    next(cell for cell in cells if cell["id"] == CELL)["source"] = source
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    numbers = {question.notebook for question in read_questions()}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if path.name[:2] in numbers:
            write_closing(path)
