"""OpenAI's shapes: what comes in over HTTP, what goes out, and the two ways between it and domain.

One file per resource; `base.py` holds what they share. Only the faces (`api`, `cli`, `web`,
`notify`) import this package: a new OpenAI field never touches the loop, the engine or the store.
Fields are named and ordered as OpenAI has them (behaviour reference, sections 1 to 17).
"""
