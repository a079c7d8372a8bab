"""Networks of finite width as flax modules; :mod:`netket_qsntk.models` is where users find them."""

from netket_qsntk.networks.cosnet import CosNet, GaussNet
from netket_qsntk.networks.fourier import FourierFeatures
from netket_qsntk.networks.mlp import WideMLP
from netket_qsntk.networks.projected_network import Symmetrized
from netket_qsntk.networks.wave_function import WaveFunction

__all__ = ["CosNet", "FourierFeatures", "GaussNet", "Symmetrized", "WaveFunction", "WideMLP"]
