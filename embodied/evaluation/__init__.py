"""How good it is: success with intervals, and the what-if suite."""
