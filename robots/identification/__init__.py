"""Which servos an arm has, from how it moved: excitation, logs, the fit, and what is written for training."""
