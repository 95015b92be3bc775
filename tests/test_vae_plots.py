"""Every figure of notebooks 03 and 04 has titles that say what it shows, and named axes."""

import pytest
import torch
from figure_checks import check_titles_axes_and_shown_once, drawing_functions

from course_lib.vae import VAE, LinearGaussianVAE, log_likelihood, plots

IMAGES = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
MODEL = LinearGaussianVAE.random(data_dim=4, latent_dim=2, seed=0)
EVIDENCE = log_likelihood(MODEL, MODEL.simulate(5, seed=0), n_samples=20)

FIGURES = {
    "image_rows": lambda: plots.image_rows({"first": IMAGES, "second": IMAGES[:2]}, "Two rows"),
    # notebook 03
    "against_dimension": lambda: plots.against_dimension(
        [1, 2], {"prior": torch.tensor([[0.1], [-9.0]])}, {"prior": torch.tensor([[50.0], [1.5]])}, n_draws=100
    ),
    "jensen": lambda: plots.jensen((0.3, 3.0)),
    "bound_as_q_moves": lambda: plots.bound_as_q_moves(
        {
            name: (torch.tensor([0.0, 1.0]), torch.tensor([-5.0, -6.0]), IMAGES[:, :2] - 6)
            for name in ("shift", "width")
        },
        evidence=-5.0,
    ),
    "draw_networks": lambda: plots.draw_networks(VAE(data_dim=64, hidden=(10,), latent_dim=2), batch_size=3),
    "ways_to_be_positive": lambda: plots.ways_to_be_positive(floor=1e-6),
    "gradient_histograms": lambda: plots.gradient_histograms({"one": IMAGES[0], "other": IMAGES[1]}, exact=0.5),
    "snapshots": lambda: plots.snapshots({"epoch 1": IMAGES}, {"epoch 1": IMAGES}, IMAGES),
    "draw_broadcasting": lambda: plots.draw_broadcasting(n_samples=25, batch=100, dim=8),
    "gradient_variance": lambda: plots.gradient_variance(
        {"before": (1.0, 3.0), "after": (2.0, 6.0)}, [1, 10], {1: [8.0, 0.8], 10: [2.6, 0.3]}
    ),
    "learning_curves": lambda: plots.learning_curves([0, 10], {(10, 1): [-30.0, -25.0], (100, 1): [-30.0, -24.0]}),
    "latent_plane": lambda: plots.latent_plane(IMAGES[:, :2], torch.arange(4), IMAGES.expand(3, 4, 64), reach=2.0),
    "covering": lambda: plots.covering(torch.linspace(-1, 1, 4), -IMAGES[:, :4], -IMAGES[:, 4:8] - 1),
    "kl_by_dimension": lambda: plots.kl_by_dimension(torch.tensor([0.01, 0.8])),
    "gap_by_image": lambda: plots.gap_by_image(EVIDENCE.per_image, EVIDENCE.elbo, IMAGES, IMAGES),
    # notebook 04
    "bounds_against_k": lambda: plots.bounds_against_k([1, 10], [(-9.0, 0.1), (-8.2, 0.1)], -9.1, -8.0),
    "gap_against_k": lambda: plots.gap_against_k(
        [1, 10], {"wide": [(1.0, 0.1), (0.1, 0.01)], "narrow": [(1.0, 0.1), (0.6, 0.1)]}, {"wide": 2.0}
    ),
    "signal_against_k": lambda: plots.signal_against_k(
        [1, 10], {"decoder": [1.0, 3.0], "encoder": [1.0, 0.3], "mended": [1.0, 1.0]}, runs=1_000
    ),
    "evidence_by_k": lambda: plots.evidence_by_k({1: EVIDENCE, 5: EVIDENCE}),
    "draw_two_layers": plots.draw_two_layers,
    "activity": lambda: plots.activity(
        {"Digits": {"k = 1": torch.tensor([0.5, 0.001])}, "MNIST": {"k = 1": torch.tensor([0.9])}}, threshold=0.01
    ),
}


def test_every_figure_is_covered():
    assert drawing_functions(plots) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_titles_and_named_axes_and_is_shown_once(name):
    check_titles_axes_and_shown_once(FIGURES[name])


def test_a_live_curve_is_one_output_that_ends_as_the_whole_curve(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("update", figure))

    def display(figure, display_id):
        shown.append(("display", figure))
        return Handle()

    monkeypatch.setattr(plots, "display", display)
    with plots.LiveCurve("epoch", "nats", "The bound rises") as curve:
        for epoch in range(50):
            curve.add(epoch, {"training": -40.0 + epoch / 2, "test": -41.0 + epoch / 2})
    kinds = [kind for kind, _ in shown]
    assert kinds[0] == "display"
    assert set(kinds[1:]) == {"update"}
    (ax,) = shown[-1][1].axes
    assert [len(line.get_xdata()) for line in ax.lines] == [50, 50]
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("The bound rises", "epoch", "nats")


def test_a_live_curve_keeps_what_it_has_when_training_is_interrupted(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda figure, display_id: shown.append(figure))
    with pytest.raises(KeyboardInterrupt), plots.LiveCurve("epoch", "nats", "Interrupted") as curve:
        curve.add(0, {"test": float("nan")})
        curve.add(1, {"test": -30.0})
        raise KeyboardInterrupt
    assert curve.points == {"test": [(0, pytest.approx(float("nan"), nan_ok=True)), (1, -30.0)]}
    (ax,) = shown[-1].axes
    assert len(ax.lines[0].get_xdata()) == 2
