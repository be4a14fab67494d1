"""When latents collapse: closed forms for linear VAEs, and the runs that test them."""
