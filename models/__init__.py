"""Networks, priors, the exact integer path, trainer and weights."""
