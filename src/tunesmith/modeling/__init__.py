"""Base models and LoRA layers: one arithmetic, shared by the trainer and the engine."""
