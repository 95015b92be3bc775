"""What every figure of the course has to be, for the tests of all notebooks' figures."""

import inspect

import matplotlib.pyplot as plt

from course_lib.figures.style import Figure

# What the tests give to figures that take one title, or one for each of two panels.
TITLE = "What it shows"
TITLES = ("What the left shows", "What the right shows")


def drawing_functions(*modules):
    """The public functions of modules that return a figure, by name."""
    return {
        name: function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and function.__annotations__.get("return") == "Figure"
        and name[0] != "_"
    }


def titled(functions):
    """The names of those functions that take their title or titles from the notebook."""
    return [
        name for name, function in functions.items() if {"title", "titles"} & {*inspect.signature(function).parameters}
    ]


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


def check_described(draw):
    """The alternative text says more than the titles do, and no more than a listener can keep in mind."""
    figure = draw()
    assert 80 <= len(figure.alt) <= 650, figure.alt
    assert figure.alt.endswith(".")
    for trace in ("  ", "nan", "inf ", "None", "tensor", "array(", "np.", "e+"):
        assert trace not in figure.alt
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert len(figure.alt) >= max(map(len, titles)) + 60


def check_titles_given_are_titles_shown(function, draw):
    parameters = inspect.signature(function).parameters
    shown = [ax.get_title(loc="left") for ax in draw().axes]
    if "titles" in parameters:
        assert parameters["titles"].default is inspect.Parameter.empty
        assert shown == [*TITLES]
    else:
        assert parameters["title"].default is inspect.Parameter.empty
        assert shown.count(TITLE) == 1
