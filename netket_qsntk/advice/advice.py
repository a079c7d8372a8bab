"""What :func:`netket_qsntk.advise` returns."""

from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from netket_qsntk._units import human_bytes
from netket_qsntk.advice.ahead import STEPS_AHEAD
from netket_qsntk.advice.findings import Finding
from netket_qsntk.advice.modes import TangentModes
from netket_qsntk.advice.recommend import Candidate
from netket_qsntk.advice.resources import Resources

__all__ = ["Advice"]

_WIDTH = 112


@dataclass(frozen=True, repr=False)
class Advice:
    """Settings for a run from one state, with their reasons; ``print`` shows them as a table.

    Attributes:
        learning_rate: η for :class:`netket.driver.VMC_SR` with ``diag_shift``; 0 where nothing can be trained.
        diag_shift: λ.
        max_learning_rate: The largest stable rate with that shift.
        gradient_descent: η for plain gradient descent.
        max_learning_rate_gd: The largest stable rate of gradient descent.
        diag_shift_range: The shifts that take at most twice the steps.
        steps: Steps to ``accuracy`` that the modes foresee with these settings.
        followed: Steps ahead that were looked at, three at most: fewer where samples of the start soon stop standing
            for the state, as high in the spectrum. ``steps`` is a lower bound then, and at a flat start.
        steps_at_ends: The same at both ends of the range.
        late_rate: r: at the end of the run E - E₀ falls as e^(-4ηrt).
        energy: ⟨H⟩ now.
        variance: Variance of the local energies now.
        accuracy: Relative accuracy of the energy that ``steps`` and ``laziness`` are for.
        noise: Energy that the noise of the samples adds, at the present variance.
        n_samples: Samples of a step, None where the run sums over the basis.
        trained_modes: Effective number of modes that SR trains, Σ s/(s+λ).
        resolved_modes: Modes whose force stands above its noise, None where nothing is sampled.
        spread: Variance of log|ψ| over the basis, before any scaling.
        initial_scale: Factor for all parameters that makes that variance harmless; 1 if it is, or if the network is
            trained already; nan if none does. Below 1, every other field is of the network so scaled.
        acceptance: Of the sampler, None without one.
        effective_samples: Independent samples that the chains are worth.
        laziness: ‖δθ‖/‖θ₀‖ of the way to the minimum of the quadratic model: small, and the kernel stays.
        nonlinearity: Of the first step: 0 where log ψ moves along a straight line.
        unreachable: Share of the local energies' variance outside the tangent space.
        use_ntk: Whether minSR is the cheaper route.
        resources: Memory and operations of both.
        findings: Named things to know.
        modes: The modes themselves.
        options: All shifts that were looked at.
        call: The lines to type.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> mlp = nk.models.MLP(hidden_dims=(8,), param_dtype=float)
        >>> advice = qs.advise(nk.vqs.FullSumState(hi, mlp, seed=0), H)
        >>> advice.learning_rate < advice.max_learning_rate, advice.has("flat start")
        (True, False)
    """

    learning_rate: float
    diag_shift: float
    max_learning_rate: float
    gradient_descent: float
    max_learning_rate_gd: float
    diag_shift_range: tuple[float, float]
    steps: float
    followed: int
    steps_at_ends: tuple[float, float]
    late_rate: float
    energy: float
    variance: float
    accuracy: float
    noise: float
    n_samples: int | None
    trained_modes: float
    resolved_modes: int | None
    spread: float
    initial_scale: float
    acceptance: float | None
    effective_samples: float
    laziness: float
    nonlinearity: float
    unreachable: float
    use_ntk: bool
    resources: Resources
    findings: tuple[Finding, ...]
    modes: TangentModes
    options: tuple[Candidate, ...]
    call: str

    @property
    def signal_to_noise(self) -> np.ndarray:
        """Of each mode, largest eigenvalue first; ∞ where nothing is sampled."""
        found = self.modes.signal_to_noise
        return np.zeros(0) if found is None else found

    def stable_below(self, diag_shift: float) -> float:
        """The largest stable rate of SR with this shift, by interpolation between ``options``; 0 without any.

        Shifts outside those looked at are answered by the nearest one.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> hi = nk.hilbert.Spin(0.5, 4)
            >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
            >>> advice = qs.advise(nk.vqs.FullSumState(hi, nk.models.RBM(), seed=0), H)
            >>> bool(np.isclose(advice.stable_below(advice.diag_shift), advice.max_learning_rate))
            True
        """
        if not self.options:
            return 0.0
        known = np.array([[c.diag_shift or 0.0, c.max_learning_rate] for c in self.options])
        return float(np.exp(np.interp(np.log(diag_shift), *np.log(known).T)))

    def has(self, name: str) -> bool:
        """Whether a finding of this name is there."""
        return any(finding.name == name for finding in self.findings)

    def rows(self) -> list[tuple[str, str, str]]:
        """(what, value, reason) of each line of the table."""
        low, high = self.diag_shift_range
        at_low, at_high = map(_number, self.steps_at_ends)
        trained = f"{_number(self.trained_modes)} modes are trained"
        samples, known, noise = (
            "the whole basis",
            f"exact; {trained}",
            "nothing is sampled: no noise",
        )
        if self.n_samples is not None:
            samples = f"{self.effective_samples:.0f} of {self.n_samples}"
            known = (
                f"are independent; {self.resolved_modes} modes stand above their noise, {trained}"
            )
            noise = f"noise adds {_number(self.noise)} to the energy at the present variance"
        if self.acceptance is not None:
            known += f"; acceptance {self.acceptance:.2f}"
        seen = self.followed == STEPS_AHEAD and not self.has("flat start")
        about = "about" if seen else "at least"
        r = self.resources
        route = "kernel (minSR)" if self.use_ntk else "S matrix"
        by_s = f"{human_bytes(r.memory_s)}, {r.operations_s:.1e} operations"
        by_ntk = f"{human_bytes(r.memory_ntk)}, {r.operations_ntk:.1e}"
        off = f"{100 * min(self.nonlinearity, 9.99):.0f} %"
        spread = (
            "initial scale",
            _number(self.initial_scale),
            f"variance of log|ψ| over the basis {_number(self.spread)}; "
            + _on_spread(self.spread, self.initial_scale),
        )
        only = "; NetKet has the kernel for samples only" if self.n_samples is None else ""
        system = ("linear system", route, f"S matrix: {by_s}; kernel: {by_ntk}{only}")
        if not self.options:
            nothing = ("settings", "none", "nothing can be trained from here: see the findings")
            return [nothing, spread, ("samples", samples, known), system]
        return [
            (
                "learning_rate",
                _number(self.learning_rate),
                f"SR is stable below {_number(self.max_learning_rate)} (2 over the largest curvature of the energy, "
                "and log ψ changes by less than one in a step)",
            ),
            (
                "diag_shift",
                _number(self.diag_shift),
                f"{about} {_number(self.steps)} steps to a relative accuracy of {self.accuracy:g}; at the end E - E₀ "
                f"falls as exp(-4 η r t), r = {_number(self.late_rate)}",
            ),
            (
                "diag_shift range",
                f"{_number(low)} … {_number(high)}",
                f"{at_low} steps at the lower end, {at_high} at the upper; {noise}",
            ),
            (
                "gradient descent",
                _number(self.gradient_descent),
                f"plain gradient descent is stable below {_number(self.max_learning_rate_gd)}",
            ),
            spread,
            ("samples", samples, known),
            (
                "laziness",
                _number(self.laziness),
                f"‖δθ‖/‖θ₀‖ of the way to the minimum, first step {off} off a straight line; where both are "
                "small the kernel predicts the run",
            ),
            (
                "out of reach",
                f"{100 * self.unreachable:.1f} %",
                "of the local energies' variance: outside the tangent space of this network here",
            ),
            system,
        ]

    def __str__(self) -> str:
        rows = self.rows()
        names, numbers = (max(len(row[i]) for row in rows) for i in (0, 1))
        indent = names + numbers + 4
        scaled = (
            f", with parameters scaled by {_number(self.initial_scale)}"
            if self.initial_scale < 1
            else ""
        )
        lines = [
            f"energy {self.energy:.6g}, variance of the local energies {_number(self.variance)}{scaled}"
        ]
        for name, value, reason in rows:
            first, *rest = wrap(reason, _WIDTH - indent)
            lines.append(f"{name:<{names}}  {value:>{numbers}}  {first}")
            lines += [" " * indent + line for line in rest]
        for finding in self.findings:
            lines += wrap(str(finding), _WIDTH, initial_indent="! ", subsequent_indent="  ")
        return "\n".join([*lines, "", self.call])

    def __repr__(self) -> str:
        names = ", ".join(finding.name for finding in self.findings)
        return (
            f"Advice(learning_rate={_number(self.learning_rate)}, diag_shift={_number(self.diag_shift)}, "
            f"max_learning_rate={_number(self.max_learning_rate)}, findings=[{names}])"
        )


def _on_spread(spread: float, scale: float) -> str:
    if spread > 1 and scale == 1:
        return "the energy is lower than with smaller parameters: trained already"
    return "above one, few configurations carry all"


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "∞" if value > 0 else "unknown"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
