"""Measurements: one module per bench.

Each has

- `PARTS: tuple[str, ...]`, the parts of a long bench (`("all",)` where there is one), and `SEEDS: int`, its own number,
- `measure(part, seed, quick, console) -> dict`: the raw JSON values of one part and one seed,
- `summarise(samples) -> dict[str, figure]`: figures from `samples[part] = [raw of seed 0, raw of seed 1, ...]`; parts
  that were not measured yet are missing, and so are their figures.

`embodied.bench.harness` runs them, keeps what was measured, and prints and writes the figures.
"""
