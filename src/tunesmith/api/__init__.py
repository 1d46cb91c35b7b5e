"""The HTTP face: OpenAI's routes over the store and the engines. Begin at `app.py`.

Routes that only touch the store are plain functions, which FastAPI runs in its threads; those
that stream are async. Nothing here imports torch.
"""
