"""The engine: one base model, many adapters, continuous batching. Begin with `engine.py`."""
