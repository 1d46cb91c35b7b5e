"""Rows and blobs: everything that must survive a crash. Begin at `store.py`."""
