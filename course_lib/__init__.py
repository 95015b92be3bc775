"""From Monte Carlo to variational autoencoders: the library behind the course's notebooks."""
