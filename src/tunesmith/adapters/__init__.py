"""An adapter's files, and the shelf that holds them."""
