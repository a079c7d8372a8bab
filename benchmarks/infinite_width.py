"""The infinite-width training curve against the eigendecomposition it contains, and against neural-tangents.

1. kernels + eigendecomposition + 10,000-step train and test curves with variances, beside scipy's eigh of the
same matrix (goal: within 2.5 times);
2. 20 log-spaced steps beside neural-tangents' gradient_descent_mse_ensemble with covariance (goal: 5 times
faster, equal to 1e-6).
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

import netket_qsntk as qs
from benchmarks.timing import machine, once
from netket_qsntk._compat import load_neural_tangents


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-train", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="leave neural-tangents out")
    args = parser.parse_args()
    print(machine())
    target = qs.targets.tfim_quench()
    train, test = target.split(args.n_train, 1)
    net = qs.models.WideMLP(widths=(1,), activation="relu", sigma_w=0.25, sigma_b=0.01)
    kernel = qs.kernels.infinite_width(net)
    rate = 0.9 * qs.kernels.max_learning_rate(kernel, train.states)
    theta = np.array(kernel.ntk(train.states))

    def curve(steps):
        dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate)
        return dynamics.curves(steps, test)

    steps = np.arange(args.steps)
    print(f"\n{args.n_train} training points, {len(test)} test points, {args.steps} steps")
    print(f"{'':>6}{'whole curve':>14}{'scipy eigh':>14}{'ratio':>8}")
    for i in range(args.repetitions + 1):
        ours, _ = once(lambda: curve(steps))
        bare, _ = once(lambda: scipy.linalg.eigh(theta))
        name = "first" if i == 0 else ""
        print(f"{name:>6}{ours:12.2f} s{bare:12.2f} s{ours / bare:8.2f}")
    if args.no_peer:
        return

    nt = load_neural_tangents()
    stax = nt.stax
    dense = {"W_std": 0.25, "b_std": 0.01}
    _, _, kernel_fn = stax.serial(stax.Dense(1, **dense), stax.Relu(), stax.Dense(1, **dense))
    few = np.unique(np.geomspace(1, args.steps, 20).astype(int))
    x_train, x_test = (jnp.asarray(d.states, jnp.float64) for d in (train, test))
    y = jnp.stack([train.amplitudes.real, train.amplitudes.imag], axis=1)

    def peer():
        predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y, diag_reg=0.0)
        # Its loss is Σ|f - y|²/(2·n·outputs), ours Σ|f - y|²/n: with two outputs its clock runs 4 times slower.
        return [predict(t=4 * rate * t, x_test=x_test, get="ntk", compute_cov=True) for t in few]

    def flow():
        dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, mode="flow")
        return dynamics.curves(few, test)

    ours, curves = once(flow)
    ours, curves = once(flow)
    theirs, predictions = once(peer)
    y_test = np.stack([test.amplitudes.real, test.amplitudes.imag], axis=1)
    l_mu = np.array([np.mean(np.sum((np.asarray(p.mean) - y_test) ** 2, 1)) for p in predictions])
    l_gamma = np.array([2 * np.mean(np.diag(np.asarray(p.covariance))) for p in predictions])
    print(f"\n{len(few)} log-spaced steps of the flow, mean and variance on the test set")
    print(
        f"this package {ours:.2f} s, neural-tangents {theirs:.2f} s: {theirs / ours:.1f} times faster"
    )
    for name, a, b in (("L_mu", curves.test.L_mu, l_mu), ("L_gamma", curves.test.L_gamma, l_gamma)):
        difference = np.max(np.abs(np.asarray(a) / b - 1))
        print(f"largest relative difference of {name}: {difference:.1e}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
