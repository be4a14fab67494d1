"""The DCT-VAE of arXiv 2302.09976 with continuous latents: what the science pages are made with."""
