"""What every figure of the course has to be, for the tests of both halves' figures."""

import inspect

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def drawing_functions(module):
    """The names of the public functions of a module that return a figure."""
    return {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and function.__annotations__.get("return") == "Figure"
        and name[0] != "_"
    }


def check_titles_axes_and_shown_once(draw):
    before = plt.get_fignums()
    figure = draw()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == before  # an open figure would be shown a second time
    figure.canvas.draw()
    for ax in figure.axes:
        assert ax.get_title(loc="left")
        if ax.axison:
            assert ax.get_xlabel()
