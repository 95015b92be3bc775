"""A notebook as a page: stored outputs, worked answers behind a click, alternative texts, and where else to find it."""

from __future__ import annotations

import copy
import re

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_lib.publishing.formulas import to_mathml
from course_lib.publishing.sources import has_tag

__all__ = ["page"]

# Markdown hands a paragraph that begins with such a tag on as it is, and JupyterLab shows formulas even there.
HTML = re.compile(r"^</?(?:details|summary)\b.*?(?=^\s*$|\Z)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$(\$?)(.+?)\$\1", re.DOTALL)
WORKED = """\
<details class="worked">
<summary>A worked answer to exercise {number}</summary>

```python
{code}
```

</details>
"""


def page(learners: NotebookNode, worked: NotebookNode, links: str) -> NotebookNode:
    """The notebook that Sphinx reads.

    Args:
        learners: the notebook with its exercises open and its outputs stored.
        worked: the same cells, solved.
        links: markdown that goes under the title.

    Raises:
        ValueError: the two have not the same cells, the first cell has no title, or a cell shows two figures.
    """
    notebook = copy.deepcopy(learners)
    if [cell.id for cell in notebook.cells] != [cell.id for cell in worked.cells]:
        raise ValueError("the worked notebook has not the same cells: run `make notebooks`.")
    title, _, rest = notebook.cells[0].source.partition("\n")
    if not title.startswith("# "):
        raise ValueError("the first cell must begin with the title, a heading of the first level.")
    notebook.cells[0].source = f"{title}\n\n{links}\n{rest}"
    cells: list[NotebookNode] = []
    n_exercises = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = HTML.sub(lambda found: FORMULA.sub(_as_mathml, found[0]), cell.source)
    for cell, solved in zip(notebook.cells, worked.cells, strict=True):
        cells.append(_described(cell))
        if has_tag(cell, "exercise"):
            n_exercises += 1
            answer = new_markdown_cell(WORKED.format(number=n_exercises, code=solved.source))
            answer.id = f"{cell.id}-worked"
            cells.append(answer)
    notebook.cells = cells
    return notebook


def _as_mathml(formula: re.Match[str]) -> str:
    return to_mathml(formula[2], display=bool(formula[1]))


def _described(cell: NotebookNode) -> NotebookNode:
    """The cell with its figure's alternative text where MyST-NB looks for it, and with outputs that it knows."""
    texts: list[str] = []
    for output in cell.get("outputs", []):
        for kind in [kind for kind in output.get("data", {}) if kind.startswith("application/vnd.")]:
            del output.data[kind]
        if "image/png" in output.get("data", {}):
            texts.append(output.metadata.get("image/png", {}).get("alt", ""))
    if len(texts) > 1:
        raise ValueError(f"cell {cell.id} shows {len(texts)} figures, and the site has one alternative text a cell.")
    if texts:
        cell.metadata["mystnb"] = {"image": {"alt": texts[0]}}
    return cell
