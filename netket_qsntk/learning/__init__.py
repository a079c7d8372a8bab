"""Learnability: what can be learned, from how many samples, without training anything.

A kernel on all configurations (or on a sector) has few levels, a target has a power in each, and those numbers fix
the losses of training at any size of the system: :func:`levels`, :func:`target_power`, :func:`learning_curve`.
"""

from netket_qsntk.learning.batch_sizes import max_stochastic_rate, samples_needed
from netket_qsntk.learning.chain_states import ChainState, ising_quench, product_state
from netket_qsntk.learning.curve import LearningCurve, learning_curve
from netket_qsntk.learning.dense_curve import dense_curve
from netket_qsntk.learning.evidence import log_evidence
from netket_qsntk.learning.levels import Levels, levels
from netket_qsntk.learning.minibatches import StochasticCurve, stochastic_curve
from netket_qsntk.learning.power import TargetPower, target_power

__all__ = [
    "ChainState",
    "LearningCurve",
    "Levels",
    "StochasticCurve",
    "TargetPower",
    "dense_curve",
    "ising_quench",
    "learning_curve",
    "levels",
    "log_evidence",
    "max_stochastic_rate",
    "product_state",
    "samples_needed",
    "stochastic_curve",
    "target_power",
]
