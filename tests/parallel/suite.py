"""Claims that hold on any number of devices, processes and ranks; run as a script, it reports their numbers.

``suite.py`` is one process, with JAX_NUM_CPU_DEVICES devices; ``suite.py --join`` one of several that
``jax.distributed`` joins (``djaxrun``), and ``suite.py --ranks`` one of the ranks of ``mpirun``. ``--only NAME …``
leaves out the other claims.
"""

import argparse
import gc
import warnings
from contextlib import nullcontext
from types import ModuleType

import jax
import numpy as np

from tests.parallel.launch import report


def main() -> None:
    """Compute everything and report it."""
    claims = {
        f.__name__: f
        for f in (
            shared_matrix,
            closed_form,
            given_network,
            operators,
            training,
            entropies,
            centres,
        )
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--join", action="store_true")
    parser.add_argument("--ranks", action="store_true")
    parser.add_argument("--only", nargs="+", choices=claims, default=list(claims))
    options = parser.parse_args()
    if options.join:
        jax.distributed.initialize()  # before NetKet makes JAX choose its devices
    import netket_qsntk as qs

    warnings.simplefilter("ignore", qs.errors.GatheredMatrixWarning)
    with qs.parallel.mpi.ranks() if options.ranks else nullcontext() as mpi:
        out: dict[str, object] = {
            "devices": qs.parallel.n_devices(),
            "ranks": mpi.size if mpi else 1,
        }
        for name in options.only:
            out |= claims[name]()
    report(jax.tree.map(_plain, out))


def _plain(value: object) -> object:

    array = np.asarray(value)
    if np.iscomplexobj(array):
        array = np.stack([array.real, array.imag])
    return array.tolist()


def _data(n_spins: int = 6, n_train: int = 37):
    import netket as nk

    import netket_qsntk as qs

    hi = nk.hilbert.Spin(0.5, n_spins)
    rng = np.random.default_rng(0)
    psi = rng.normal(size=hi.n_states) + 1j * rng.normal(size=hi.n_states)
    target = qs.targets.Target(hi, psi / np.linalg.norm(psi))
    return target, *target.split(n_train, 0)


def _largest_part(holder: object = None) -> int:
    """Entries of the largest matrix that a device of this process has whole, or NumPy in what an object holds."""
    sizes = [s.data.size for a in jax.live_arrays() if a.ndim > 1 for s in a.addressable_shards]
    held = [holder]
    for _ in range(4):
        held = gc.get_referents(*(h for h in held if not isinstance(h, type | ModuleType)))
        sizes += [a.size for a in held if isinstance(a, np.ndarray) and a.ndim > 1]
    return max(sizes, default=0)


def shared_matrix() -> dict[str, object]:
    """The matrix algebra on parts."""
    import netket as nk

    import netket_qsntk as qs

    rng = np.random.default_rng(0)
    x = np.asarray(nk.hilbert.Spin(0.5, 5).all_states())
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
    nngp, ntk = qs.parallel.SharedMatrix.of_kernel(kernel, x[:13], x[:9])
    square, _ = qs.parallel.SharedMatrix.of_kernel(kernel, x[:13])
    v, w = rng.normal(size=9), rng.normal(size=(13, 2))
    values, vectors = qs.parallel.eigh(square)
    transform = qs.operators.walsh_hadamard(qs.parallel.share(rng.normal(size=256)))
    return {
        "rows": ntk.matvec(v),
        "nngp": nngp.matvec(v),
        "complex": ntk @ (v + 1j * v[::-1]),
        "transpose": ntk.rmatvec(w),
        "product": (ntk.T @ (square @ nngp)).gather(),
        "transposed": (nngp.transposed() @ square * v[:1]).gather(),
        "dots": ntk.row_dots(nngp),
        "column dots": ntk.column_dots(nngp),
        "diagonal": (square + square).diagonal(),
        "eigenvalues": values,
        "again": ((vectors * values) @ vectors.transposed() - square).gather(),
        "transform": qs.parallel.collect(transform, 256),
        "largest part": max(s.data.shape[0] for s in ntk.rows.addressable_shards),
    }


def closed_form() -> dict[str, object]:
    """Training and inference of infinitely wide networks."""
    import jax.numpy as jnp

    import netket_qsntk as qs

    _, train, test = _data()
    steps = jnp.array([0, 3, 100, jnp.inf])
    out: dict[str, object] = {}
    models = {
        "relu": qs.models.WideMLP(widths=(8,), sigma_w=1.2, sigma_b=0.3),
        "real": qs.models.CosNet(8, 1.0, 2.0, parts="real"),
    }
    for name, model in models.items():
        kernel = qs.kernels.infinite_width(model)
        rate = 0.5 * qs.kernels.max_learning_rate(kernel, train.states)
        dynamics = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver="dense")
        curves = dynamics.curves(steps, test)
        out[f"curves of {name}"] = np.stack([*curves.train[:2], *curves.test[:2], curves.fidelity])
        if name != "relu":
            continue
        out["whole in closed form"] = _largest_part(dynamics)
        out[f"mean of {name}"] = dynamics.mean(steps, test.states[:3])
        out[f"variance of {name}"] = dynamics.variance(steps, test.states[:3])
        out[f"covariance of {name}"] = dynamics.moments(3.0, test.states[:5])[1]
        products = qs.dynamics.LinearDynamics(kernel, train, learning_rate=rate, solver="products")
        out[f"products of {name}"] = products.losses([0, 3, 100], test).L_mu
        posterior = qs.dynamics.Posterior(kernel, train, noise=0.1)
        out[f"posterior of {name}"] = posterior.mean(test.states[:3])
        out[f"its variance of {name}"] = posterior.variance(test.states[:3])
    return out


def given_network() -> dict[str, object]:
    """Kernels of given networks and their linearised training."""
    import netket as nk

    import netket_qsntk as qs

    target, train, test = _data()
    out: dict[str, object] = {}
    models = {
        "shared": qs.models.CosNet(16, 1.0, 2.0, parts="shared"),
        "rbm": nk.models.RBM(param_dtype=complex),
    }
    for name, model in models.items():
        kernel = qs.kernels.EmpiricalKernel(nk.vqs.FullSumState(target.hilbert, model, seed=1))
        blocks = kernel.shared(train.states[:11], test.states[:9])
        for block in ("theta_11", "theta_22", "theta_12", "theta_21"):
            out[f"{block} of {name}"] = getattr(blocks, block).gather()
        dynamics = qs.dynamics.LinearizedDynamics(kernel, train, test, learning_rate=1e-3)
        out[f"linearised {name}"] = np.stack(dynamics.curves([0, 2, 50]))
        out[f"error of {name}"] = np.concatenate(dynamics.error([5]), axis=1)
    return out


def operators() -> dict[str, object]:
    """Products of each structure, and what is computed from them."""

    import netket_qsntk as qs

    target, train, test = _data()
    rng = np.random.default_rng(1)
    v = rng.normal(size=(37, 3)) + 1j * rng.normal(size=(37, 3))
    out: dict[str, object] = {}
    kernel = qs.kernels.infinite_width(qs.models.CosNet(8, 1.0, 2.0))
    for hint in ("shared", "tiled", "hypercube", "kronecker"):
        operator = kernel.operator(train.states, hint=hint)
        out[f"{hint}: product"] = operator.matvec(v)
        out[f"{hint}: diagonal"] = operator.diagonal()
        out[f"{hint}: between"] = kernel.operator(test.states, train.states, hint=hint).matvec(v)
        shifted = (2.0 * operator).add_diagonal(0.1)
        out[f"{hint}: solution"] = qs.operators.conjugate_residuals(shifted, v[:, 0].real).value
        out[f"{hint}: largest"] = qs.operators.largest_eigenvalue(operator)
        out[f"{hint}: part"] = operator.restrict([1, 5, 7]).as_matrix()
    whole = kernel.operator(target.hilbert.all_states(), which="nngp", hint="hypercube")
    in_parts = whole.product(qs.parallel.share(rng.normal(size=64)))
    out["hypercube: in parts"] = qs.parallel.collect(in_parts, 64)
    out["entries of a part"] = max(s.data.size for s in in_parts.addressable_shards)
    return out


def training() -> dict[str, object]:
    """Ensembles and drivers."""
    import jax.numpy as jnp
    import netket as nk
    import optax

    import netket_qsntk as qs

    target, _, _ = _data(5, 20)
    hi = target.hilbert
    hamiltonian = nk.operator.Ising(hi, nk.graph.Chain(5), h=0.7)
    doubled = jax.jit(lambda x: qs.parallel.mpi.over_ranks(lambda y: 2 * y, x))
    out: dict[str, object] = {"inside jit": doubled(jnp.arange(7.0))}
    for members in (2, 3):
        vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(16, 1.0, 2.0), n_members=members, seed=0)
        out[f"energy of {members}"] = np.real(vs.expect(hamiltonian).mean)
        for driver_type in ("QSNTKDriver", "LinearizedDriver", "InfiniteWidthDriver"):
            finite = driver_type == "QSNTKDriver"
            if members == 2 and not finite:
                continue
            options = {"batch_size": 10} if finite else {}
            driver = getattr(qs.driver, driver_type)(
                target,
                optax.adam(0.01) if finite else optax.sgd(1e-3),
                variational_state=vs,
                n_train=20,
                seed=1,
                **options,
            )
            log = nk.logging.RuntimeLog()
            driver.run(4, out=log, show_progress=False)
            for key in ("Loss", "loss/train", "loss/test", "fidelity"):
                out[f"{key} of {members} by {driver_type}"] = np.real(log.data[key].Mean)
        out[f"psi of {members}"] = np.abs(np.asarray(vs.to_array()))
    return out


def entropies() -> dict[str, object]:
    """Entropies of members and of the limit."""

    import netket_qsntk as qs

    target, _, _ = _data(5, 20)
    model = qs.models.CosNet(16, 1.0, 2.0)
    out: dict[str, object] = {}
    for members in (2, 5):
        vs = qs.vqs.EnsembleState(target.hilbert, model, n_members=members, seed=0)
        for n in (1, 2):
            observable = qs.observable.EnsembleEntropy(target.hilbert, [0, 1], n=n)
            out[f"S_{n} of {members}"] = np.real(vs.expect(observable).mean)
    limit = qs.vqs.InfiniteState(target.hilbert, model)
    out["draws"] = np.abs(np.asarray(limit.sample(3, seed=1)))
    return out


def centres() -> dict[str, object]:
    """Infinitely wide networks by their centres: energies, gradients, steps and a change of centres."""
    import netket as nk
    import optax

    import netket_qsntk as qs
    from netket_qsntk.models.refit import refit

    lattice = nk.graph.Chain(8)
    hi = nk.hilbert.Spin(0.5, 8)
    hamiltonian = nk.operator.IsingJax(hi, lattice, h=0.9, J=-1.0)
    one = qs.kernels.infinite_width(
        qs.models.WideMLP(widths=(1,), activation="erf", sigma_b=0.3, parts="real")
    )
    x = np.asarray(hi.all_states())[np.random.default_rng(0).permutation(256)[:64]]
    out: dict[str, object] = {}
    for name, kernel in {"whole": one, "patches": qs.kernels.patches(one, lattice, (3,))}.items():
        kernel = qs.kernels.symmetrized(kernel, lattice.space_group(), spin_flip=1)
        chosen = qs.models.choose_centres(kernel, x, 10)
        model = qs.models.InfiniteWidth(kernel, chosen, floor=1e-9)
        sampler = nk.sampler.MetropolisLocal(hi, n_chains=64)
        vs = nk.vqs.MCState(
            sampler, model, n_samples=64, n_discard_per_chain=0, seed=0, sampler_seed=1
        )
        driver = nk.driver.VMC_SR(
            hamiltonian, optax.sgd(0.1), variational_state=vs, diag_shift=1e-2
        )
        # Given configurations, as the chains lie on the devices: random numbers depend on their number.
        given = nk.jax.sharding.distribute_to_devices_along_axis(x[:, None], axis=0)
        for step in range(3):
            vs._samples = given
            vs.parameters = jax.tree.map(
                lambda p, d: p - 0.1 * d, vs.parameters, driver.compute_loss_and_update()[1]
            )
            vs._samples = given
            stats, gradient = vs.expect_and_grad(hamiltonian)
            out[f"energy of {name}, {step}"] = [np.real(stats.mean), stats.variance]
            out[f"gradient of {name}, {step}"] = gradient["log_amplitude"]
        moved = refit(model, vs.variables, x, 8, keep=0.5, seed=0)
        out[f"moved {name}"] = moved.misfit
        vs.variables = moved.variables
        out[f"log ψ of {name}"] = vs.log_value(x[:7])
    return out


if __name__ == "__main__":
    main()
