"""Metrics, benchmarks and the pages made from them."""
