"""The benchmark's report: one HTML file to look at, with its pictures inside."""

from .build import write_report

__all__ = ["write_report"]
