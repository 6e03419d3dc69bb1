"""Ground floor: the vocabulary of the world (objects, goals, interventions, episodes) and MuJoCo."""
