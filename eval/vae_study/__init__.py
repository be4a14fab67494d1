"""Do the latents stay alive? Hierarchical VAEs with and without a context, trained and measured."""
