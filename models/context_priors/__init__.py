"""Diffusion priors over the quantised context: what they have in common, and the Gaussian one.

`interface` says what a prior can do. `gaussian` is the DDPM over y0 in [−1, 1] (arXiv 2302.09976,
appendix C): `diffusion` its schedule and Eq. 12 in integers, `unet` its network, `normal` the
integer tables. The masked prior is that of `topology`. Coding lies in `codec/bitsback.py`.
"""
