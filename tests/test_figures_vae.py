"""Every figure of notebooks 03 and 04, and of what they share: titles that say what it shows, and named axes."""

import pytest
import torch
from figure_checks import (
    TITLE,
    TITLES,
    check_described,
    check_titles_axes_and_shown_once,
    check_titles_given_are_titles_shown,
    drawing_functions,
    titled,
)

from course_lib.figures import diagrams, images, live, notebook_03, notebook_04
from course_lib.figures.tensors import numbers
from course_lib.vae import VAE, LinearGaussianVAE, log_likelihood

IMAGES = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
MODEL = LinearGaussianVAE.random(data_dim=4, latent_dim=2, seed=0)
EVIDENCE = log_likelihood(MODEL, MODEL.simulate(5, seed=0), n_samples=20)

DRAWING = drawing_functions(images, diagrams, notebook_03, notebook_04)
FIGURES = {
    "image_rows": lambda: images.image_rows({"first": IMAGES, "second": IMAGES[:2]}, TITLE),
    # notebook 03
    "against_dimension": lambda: notebook_03.against_dimension(
        [1, 2], {"prior": torch.tensor([[0.1], [-9.0]])}, {"prior": torch.tensor([[50.0], [1.5]])}, 100, TITLES
    ),
    "jensen": lambda: notebook_03.jensen((0.3, 3.0)),
    "bound_as_q_moves": lambda: notebook_03.bound_as_q_moves(
        {
            name: (torch.tensor([0.0, 1.0]), torch.tensor([-5.0, -6.0]), IMAGES[:, :2] - 6)
            for name in ("shift", "width")
        },
        evidence=-5.0,
        titles=TITLES,
    ),
    "draw_networks": lambda: notebook_03.draw_networks(VAE(data_dim=64, hidden=(10,), latent_dim=2), batch_size=3),
    "ways_to_be_positive": lambda: notebook_03.ways_to_be_positive(floor=1e-6),
    "gradient_histograms": lambda: notebook_03.gradient_histograms({"one": IMAGES[0], "other": IMAGES[1]}, exact=0.5),
    "snapshots": lambda: notebook_03.snapshots({"epoch 1": IMAGES}, {"epoch 1": IMAGES}, IMAGES, TITLES),
    "draw_broadcasting": lambda: notebook_03.draw_broadcasting(n_samples=25, batch=100, dim=8),
    "gradient_variance": lambda: notebook_03.gradient_variance(
        {"before": (1.0, 3.0), "after": (2.0, 6.0)}, [1, 10], {1: [8.0, 0.8], 10: [2.6, 0.3]}, TITLES
    ),
    "learning_curves": lambda: notebook_03.learning_curves(
        [0, 10], {(10, 1): [-30.0, -25.0], (100, 1): [-30.0, -24.0]}, TITLE
    ),
    "latent_plane": lambda: notebook_03.latent_plane(
        IMAGES[:, :2], torch.arange(4), IMAGES.expand(3, 4, 64), 2.0, TITLE
    ),
    "covering": lambda: notebook_03.covering(torch.linspace(-1, 1, 4), -IMAGES[:, :4], -IMAGES[:, 4:8] - 1, TITLE),
    "kl_by_dimension": lambda: notebook_03.kl_by_dimension(torch.tensor([0.01, 0.8]), TITLE),
    "gap_by_image": lambda: notebook_03.gap_by_image(EVIDENCE.per_image, EVIDENCE.elbo, IMAGES, IMAGES, TITLE),
    # notebook 04
    "bounds_against_k": lambda: notebook_04.bounds_against_k([1, 10], [(-9.0, 0.1), (-8.2, 0.1)], -9.1, -8.0, TITLE),
    "gap_against_k": lambda: notebook_04.gap_against_k(
        [1, 10], {"wide": [(1.0, 0.1), (0.1, 0.01)], "narrow": [(1.0, 0.1), (0.6, 0.1)]}, {"wide": 2.0}, TITLE
    ),
    "signal_against_k": lambda: notebook_04.signal_against_k(
        [1, 10], {"decoder": [1.0, 3.0], "encoder": [1.0, 0.3], "mended": [1.0, 1.0]}, 1_000, TITLE
    ),
    "evidence_by_k": lambda: notebook_04.evidence_by_k({1: EVIDENCE, 5: EVIDENCE}, TITLE),
    "draw_two_layers": notebook_04.draw_two_layers,
    "activity": lambda: notebook_04.activity(
        {"Digits: one": {"k = 1": torch.tensor([0.5, 0.001])}, "MNIST: all": {"k = 1": torch.tensor([0.9])}},
        threshold=0.01,
    ),
}


def test_every_figure_is_covered():
    assert set(DRAWING) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_titles_and_named_axes_and_is_shown_once(name):
    check_titles_axes_and_shown_once(FIGURES[name])


@pytest.mark.parametrize("name", FIGURES)
def test_figure_says_in_words_what_it_shows(name):
    check_described(FIGURES[name])


@pytest.mark.parametrize("name", titled(DRAWING))
def test_titles_given_are_titles_shown(name):
    check_titles_given_are_titles_shown(DRAWING[name], FIGURES[name])


def test_a_live_curve_is_one_output_that_ends_as_the_whole_curve(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("update", figure))

    def display(figure, display_id):
        shown.append(("display", figure))
        return Handle()

    monkeypatch.setattr(live, "display", display)
    with live.LiveCurve("epoch", "nats", "The bound rises") as curve:
        for epoch in range(50):
            curve.add(epoch, {"training": -40.0 + epoch / 2, "test": -41.0 + epoch / 2})
    kinds = [kind for kind, _ in shown]
    assert kinds[0] == "display"
    assert set(kinds[1:]) == {"update"}
    (ax,) = shown[-1][1].axes
    assert [len(line.get_xdata()) for line in ax.lines] == [50, 50]
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("The bound rises", "epoch", "nats")


def test_a_live_curve_marks_what_its_lower_limit_cuts_off_and_says_where_its_lines_go():
    curve = live.LiveCurve("epoch", "nats", "The bound rises")
    for epoch in range(30):
        curve.points.setdefault("test", []).append((epoch, -1000.0 if epoch == 0 else -20.0))
    figure = curve.figure()
    (ax,) = figure.axes
    (mark,) = (line for line in ax.lines if line.get_marker() == "v" and len(line.get_xdata()))
    assert (*mark.get_xdata(), *mark.get_ydata()) == (0, 0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["test", "beyond the axis"]
    assert figure.alt.endswith("“test” goes from −1,000 to −20 at 29.")


def test_a_k_has_one_colour_in_all_of_notebook_04():
    ks = [1, 5, 50]
    curve = live.LiveCurve("updates", "nats", "Three models")
    curve.points = {f"k = {k}": [(0, -30.0)] for k in ks}
    (ax,) = curve.figure().axes
    expected = [line.get_color() for line in ax.lines]
    (ax,) = notebook_04.activity({"": {f"k = {k}": torch.tensor([0.5]) for k in ks}}, threshold=0.01).axes
    assert [line.get_color() for line in ax.lines[:3]] == expected
    left, right = notebook_04.evidence_by_k(dict.fromkeys(ks, EVIDENCE), TITLE).axes
    bars = [bar.lines[0].get_color() for bar in left.containers]
    assert bars == [colour for colour in expected for _ in range(2)]
    assert [bar.lines[0].get_color() for bar in right.containers] == expected[1:]
    (ax,) = notebook_04.bounds_against_k([1, 2, 5, 50], [(-9.0, 0.1)] * 4, -9.1, -8.0, TITLE).axes
    marked = {line.get_xdata()[0]: line.get_color() for line in ax.lines if line.get_markersize() == 8}
    assert marked == dict(zip(ks, expected, strict=True))


def test_estimates_beyond_the_bins_are_marked_and_counted():
    estimates = torch.linspace(-1, 1, 1_000)
    far = torch.cat([torch.tensor([-90.0, 80.0]), estimates[2:]])
    first, second = notebook_03.gradient_histograms({"near": estimates, "far": far}, exact=0.0).axes
    assert "^" not in {line.get_marker() for line in first.lines}
    assert {"<", ">"} <= {line.get_marker() for line in second.lines}
    texts = [text.get_text() for text in first.figure.legends[0].get_texts()]
    assert any("beyond the axis" in text for text in texts)
    assert "mean of the estimates" in texts


def test_a_live_curve_keeps_what_it_has_when_training_is_interrupted(monkeypatch):
    shown = []
    monkeypatch.setattr(live, "display", lambda figure, display_id: shown.append(figure))
    with pytest.raises(KeyboardInterrupt), live.LiveCurve("epoch", "nats", "Interrupted") as curve:
        curve.add(0, {"test": float("nan")})
        curve.add(1, {"test": -30.0})
        raise KeyboardInterrupt
    assert curve.points == {"test": [(0, pytest.approx(float("nan"), nan_ok=True)), (1, -30.0)]}
    (ax,) = shown[-1].axes
    assert len(ax.lines[0].get_xdata()) == 2


def test_numbers_of_a_tensor_need_no_gradient_and_keep_their_shape():
    values = torch.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    assert numbers(values).tolist() == [[0.5, -1.0, 2.0]]


def test_rows_of_images_are_told_apart_in_words():
    bits = (IMAGES > 0.5).float()
    figure = images.image_rows({"grey": IMAGES, "once": bits, "twice": bits.clone(), " ": IMAGES[:1]}, TITLE)
    assert figure.alt.endswith(
        "“grey”: 4 in shades of grey; “once”: 4 in black and white; “twice”: the same as “once”; 1 in shades of grey."
    )
