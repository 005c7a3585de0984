"""The report of a run: one HTML file that opens without a network, drawn by the page's own modules."""
