"""Migrations: numbered, small, only added, never edited once released.

To change a table: change `store/tables.py`, add `versions/NNNN_what_changes.py` whose
`down_revision` is the newest number, set `HEAD` in `store/schema.py`. A migration spells its
columns out in plain SQLAlchemy types and imports nothing of ours: tables change, history doesn't.
"""
