"""What the notebooks show: one file per notebook, and the look, the image grids and the live curve they share."""
