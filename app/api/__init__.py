"""HTTP routes: the edge that opens transactions. It knows nothing of the page."""
