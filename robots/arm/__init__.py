"""One contract over the arms that LeRobot drives: radians in, readings with their times out."""
