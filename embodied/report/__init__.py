"""One self-contained HTML page about a run: no network, no scripts, readable in light, in dark and on paper."""
