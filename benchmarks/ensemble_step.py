"""One training step of an ensemble against the matrix products it contains (goal: within 1.5 times).

A step of one real network with one hidden layer of width N on n configurations of d sites contains four products:
X W (n·d·N), the readout H a (n·N), and for the gradients Xᵀ Δ (d·N·n) and Hᵀ r (N·n). They are timed alone, over
the same members and in the row chunks that suit them best, in the same run as the driver's step (losses,
gradients, update, logged numbers of the training set).
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import optax

import netket_qsntk as qs
from benchmarks.timing import best, machine


@partial(jax.jit, static_argnums=4)
def products(x, w, a, r, rows):
    """The four products of every network, w (networks, d, N), a (networks, N), in chunks of rows."""
    n, d = x.shape
    chunks = n // rows

    def network(weights):
        w, a = weights
        hidden = jnp.broadcast_to(a, (rows, len(a))) * r[:rows, None]

        def chunk(total, part):
            x, r = part
            # Barriers keep XLA from dropping or merging products whose results are not used further.
            h, z = jax.lax.optimization_barrier((hidden, x @ w))
            grad_w, grad_a = x.T @ h, h.T @ r
            return (total[0] + grad_w, total[1] + grad_a), (h @ a + z[:, 0])

        zero = jnp.zeros_like(w), jnp.zeros_like(a)
        parts = (
            x[: chunks * rows].reshape(chunks, rows, d),
            r[: chunks * rows].reshape(chunks, rows),
        )
        return jax.lax.scan(chunk, zero, parts)

    return jax.lax.map(network, (w, a))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-train", type=int, default=2400)
    parser.add_argument(
        "--cases", nargs="+", default=["512x5", "1000x3", "5000x1"], help="width x members"
    )
    args = parser.parse_args()
    print(machine())
    target = qs.targets.tfim_quench()
    train, _ = target.split(args.n_train, 1)
    x = jnp.asarray(train.states, jnp.float64)
    print(f"\n{args.n_train} configurations, complex ψ from two real networks a member")
    print(f"{'width':>6}{'members':>9}{'rows':>6}{'step':>12}{'products':>12}{'ratio':>8}")
    for case in args.cases:
        width, members = (int(n) for n in case.split("x"))
        net = qs.models.WideMLP(widths=(width,), activation="relu", sigma_w=0.25, sigma_b=0.01)
        vs = qs.vqs.EnsembleState(target.hilbert, net, n_members=members, seed=0)
        driver = qs.driver.QSNTKDriver(
            target, optax.sgd(1e-3), variational_state=vs, n_train=args.n_train, seed=1,
            evaluate_every=10**9,
        )  # fmt: skip
        driver._step_count = 1  # a step without the evaluation on the test set

        def step(driver=driver):
            _, gradient = driver.compute_loss_and_update()
            driver.update_parameters(gradient)
            return driver.state.parameters

        key = jax.random.key(0)
        w = jax.random.normal(key, (2 * members, x.shape[1], width))
        a, r = jax.random.normal(key, (2 * members, width)), jax.random.normal(key, (len(x),))
        alone = [
            partial(products, x, w, a, r, rows)
            for rows in {len(x), len(x) // 4, len(x) // 10, len(x) // 25, len(x) // 50}
        ]
        ours, *theirs = best(step, *alone, repetitions=7)
        print(
            f"{width:6d}{members:9d}{driver._rows:6d}{ours * 1e3:9.1f} ms{min(theirs) * 1e3:9.1f} ms"
            f"{ours / min(theirs):8.2f}"
        )


if __name__ == "__main__":
    main()
