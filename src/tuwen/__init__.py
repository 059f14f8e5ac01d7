"""Tuwen 图文: build, train, measure and serve Chinese/English vision-language models."""

__version__ = "0.1.0"
