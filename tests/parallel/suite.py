"""Claims that hold on any number of devices and processes; run as a script, it prints one number a line.

``python suite.py`` on one process, with JAX_NUM_CPU_DEVICES devices; ``python suite.py ADDRESS N I`` as process I
of N.
"""

import json
import sys

import jax


def main() -> None:
    """Compute everything and print it."""
    if len(sys.argv) > 1:
        address, n, i = sys.argv[1:]
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(n), int(i))
    import jax.numpy as jnp
    import netket as nk
    import numpy as np
    import optax

    import netket_qsntk as qs

    out: dict[str, object] = {"devices": qs.parallel.n_devices()}
    rng = np.random.default_rng(0)
    hi = nk.hilbert.Spin(0.5, 5)
    x = np.asarray(hi.all_states())
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
    nngp, ntk = qs.parallel.SharedMatrix.of_kernel(kernel, x[:13], x[:9])
    v, w = rng.normal(size=9), rng.normal(size=(13, 2))
    out["rows"] = np.asarray(ntk.matvec(v)).tolist()
    out["nngp"] = np.asarray(nngp.matvec(v)).tolist()
    out["transpose"] = np.asarray(ntk.rmatvec(w)).ravel().tolist()
    y = qs.parallel.walsh_hadamard(qs.parallel.share(rng.normal(size=256)))
    out["transform"] = np.asarray(qs.parallel.collect(y, 256)).tolist()
    own = [s.data.shape[0] for s in ntk.rows.addressable_shards]
    out["largest part"] = max(own)

    amplitudes = rng.normal(size=hi.n_states)
    target = qs.targets.Target(hi, amplitudes / np.linalg.norm(amplitudes))
    for members in (2, 3):
        vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(16, 1.0, 2.0), n_members=members, seed=0)
        driver = qs.driver.QSNTKDriver(
            target, optax.adam(0.01), variational_state=vs, n_train=20, batch_size=10, seed=1
        )
        log = nk.logging.RuntimeLog()
        driver.run(4, out=log, show_progress=False)
        for key in ("Loss", "loss/train", "loss/test", "fidelity"):
            out[f"{key} of {members}"] = [float(t) for t in np.real(log.data[key].Mean)]
        out[f"psi of {members}"] = np.abs(np.asarray(jnp.asarray(vs.to_array()))).ravel().tolist()
    sys.stdout.write("RESULT " + json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
