"""Potential-based shaping: dense reward that leaves the optimal policy alone (Ng, Harada, Russell, ICML 1999).

r = success reward + weight (gamma^h Psi(s') - Psi(s)), with the potential Psi = progress - 1 in [-1, 0].

Rules kept here, each with a test:
- A terminal state has potential 0, whatever its progress. A cut by the time limit is not terminal: it keeps its
  potential, and the learner bootstraps from it.
- The shift by -1 makes the potential of the goal 0, so that the terminal rule makes no jump at success.
- h steps at once are shaped by gamma^h Psi(s_{t+h}) - Psi(s_t), which is what h single steps sum to.
- Shaped rewards are made when a batch is sampled, both potentials from the same present model. Stored ones would be
  wrong as soon as the goal is relabelled or a learned model has moved on.
- The potential must be a function of the state (and the goal) alone. One that looks back in time has no guarantee.
"""

from array_api_compat import array_namespace

from envs.types import Array


def potential(progress: Array) -> Array:
    """Psi = progress - 1 `[*B]`: 0 at the goal, -1 where nothing is done."""
    return progress - 1.0


def shaping(now: Array, following: Array, terminated: Array, discount: float, steps: int | Array = 1) -> Array:
    """The shaping term `[*B]` between two states `steps` apart: gamma^steps Psi(s') - Psi(s).

    Args:
        now: potential of the state, `[*B]`.
        following: potential of the later state, `[*B]`; ignored where that is terminal.
        terminated: `[*B]` bool, whether the later state is terminal. False at a time limit.
        discount: gamma per step.
        steps: h, or `[*B]` where chunks have different lengths.
    """
    xp = array_namespace(now)
    return discount**steps * xp.where(terminated, xp.zeros_like(following), following) - now
