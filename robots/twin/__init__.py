"""An SO-101 that is not there: emulated servos on a pseudo-terminal, our simulated scene behind them."""
