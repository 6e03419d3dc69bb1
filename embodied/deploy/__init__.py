"""`embodied deploy`: a policy on an arm, behind the governor, with every episode recorded as it was carried out."""
