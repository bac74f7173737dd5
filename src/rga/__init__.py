"""Relation-Aware Global Attention: attention blocks, a backbone plugin, and the paper's tables from one command."""

__version__ = "0.1.0"
