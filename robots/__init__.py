"""Real arms: LeRobot units, drivers, calibration and safety. Imports nothing of ours but `envs`."""
