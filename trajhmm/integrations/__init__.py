"""Training loops and frameworks: what logs a run from within its training, and what warns of it, side by side.

One file a framework, which imports it: `huggingface`, `lightning`, `keras`; `loops` is for any other loop.
"""
