"""tunesmith: a self-hosted service that speaks OpenAI's fine-tuning API."""

__version__ = "0.1.0"
