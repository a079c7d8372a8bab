"""Errors and warnings a user of the package can meet.

Every class is a :class:`QSNTKError` (or :class:`QSNTKWarning`) *and* the builtin that Python users
would catch, so that both ``except qs.errors.QSNTKError`` and ``except ValueError`` work. A message
says what came, what was expected, and the call that would work.
"""


class QSNTKError(Exception):
    """Base of every error raised on purpose by this package."""


class QSNTKWarning(UserWarning):
    """Base of every warning issued on purpose by this package."""


class InvalidModelError(QSNTKError, ValueError):
    """A model was given an option that does not exist or numbers that make no network."""


class PartitionError(QSNTKError, ValueError):
    """A partition is empty, complete, out of range, or names a site twice."""


class EntropyOrderError(QSNTKError, ValueError):
    """An entropy was asked for at an order where its formula does not hold."""


class AmplitudesError(QSNTKError, ValueError):
    """Amplitudes have the wrong length, are all zero, or are not finite."""


class EnsembleError(QSNTKError, ValueError):
    """An ensemble cannot be made as asked, or is asked for a member or for amplitudes that it does not have."""


class SystemTooLargeError(QSNTKError, ValueError):
    """A calculation needs all amplitudes, or all of a covariance, of a system too large for that."""


class InvalidConfigurationsError(QSNTKError, ValueError):
    """Configurations, centres or measured outcomes have the wrong shape, coincide, or are none of the system."""


class UnknownKernelError(QSNTKError, TypeError):
    """No infinite-width kernel is registered for this model."""


class NotANetworkError(QSNTKError, TypeError):
    """Something was expected to be a NetKet state or a pair (apply_fun, variables) and is not."""


class BatchDependentError(QSNTKError, ValueError):
    """The amplitude of a configuration depends on which others a network evaluates with it."""


class NonFiniteError(QSNTKError, FloatingPointError):
    """A gradient, a kernel or an amplitude is infinite or no number; nothing was overwritten with it."""


class CheckpointError(QSNTKError, ValueError):
    """A checkpoint is of another size, split or model than what it is restored into."""


class HilbertMismatchError(QSNTKError, ValueError):
    """Two things that must live on one Hilbert space live on different ones."""


class HamiltonianError(QSNTKError, ValueError):
    """An operator is not a Hamiltonian: not discrete, not Hermitian, or its numbers make none."""


class DegenerateGroundStateError(QSNTKError, ValueError):
    """A Hamiltonian has several ground states, to numerical accuracy, and so no single target."""


class NonLinearOptimizerError(QSNTKError, TypeError):
    """A closed-form driver got an optimiser whose linearised training has no closed form."""


class InvalidTrainingError(QSNTKError, ValueError):
    """Options of a training run, its training set included, contradict one another or are out of range."""


class UnstableLearningRateWarning(QSNTKWarning):
    """The learning rate is beyond the stability limit: the top mode of the kernel diverges."""


class SinglePrecisionWarning(QSNTKWarning, RuntimeWarning):
    """Training is solved in float32, because JAX's 64-bit mode is off; the message says what that costs."""


class InaccurateKernelWarning(QSNTKWarning, RuntimeWarning):
    """A kernel computed by quadrature is less accurate than float64, and how much."""


class MissingDependencyError(QSNTKError, ImportError):
    """A package is needed that is missing or of another version; the message has the line that installs it."""


class SymmetryError(QSNTKError, ValueError):
    """A symmetry group or a character does not fit the system, or is none."""


class OperatorShapeError(QSNTKError, ValueError):
    """A vector or another operator does not fit the shape of a kernel operator."""


class StructureError(QSNTKError, ValueError):
    """A kernel or an operator lacks the structure that was asked for: a table, a product, an exact spectrum."""


class NotConvergedWarning(QSNTKWarning, RuntimeWarning):
    """An iteration stopped at its largest number of steps; what it reached is in the message."""


class NotConvergedError(QSNTKError, RuntimeError):
    """An iteration did not reach an answer, and what it reached would be wrong without a sign of it."""


class PoorOverlapWarning(QSNTKWarning, RuntimeWarning):
    """Samples of two states miss each other's weight: an estimated fidelity means little."""


class NotANumberWarning(QSNTKWarning, RuntimeWarning):
    """Something that is logged is no number; the message says what."""


class FreezingWarning(QSNTKWarning, RuntimeWarning):
    """An annealed average over networks is that of a few of them, and describes no typical network."""


class ObservableError(QSNTKError, TypeError):
    """An observable was asked of a state that it is not defined for, or cannot be estimated from."""


class GatheredMatrixWarning(QSNTKWarning, RuntimeWarning):
    """A matrix that lay in parts on many devices was made whole; the message has its size."""


class MemoryEstimateError(QSNTKError, ValueError):
    """A memory estimate was asked for an unknown job, or with numbers that describe none."""


class ProcessesError(QSNTKError, RuntimeError):
    """A run of several processes or ranks was started in a way that cannot work."""


class LonelyCollectiveError(QSNTKError, TimeoutError):
    """A step that all processes must take together was reached by some of them only."""


class NoLevelsError(QSNTKError, TypeError):
    """A kernel has no levels on a Hilbert space: it is neither a function of distances nor a product over sites."""


class TargetPowerError(QSNTKError, ValueError):
    """The power of a target in the levels of a kernel was asked for where it is not known, or does not fit."""


class FewAmplitudesWarning(QSNTKWarning):
    """A target of few large amplitudes: losses of single training sets scatter around the predicted average."""


class FiniteSizeWarning(QSNTKWarning):
    """A prediction holds for many configurations, and there are few; the message says how far it may be off."""


# Names of version 0.1.
InvalidEnsembleError = EnsembleError
UndefinedAmplitudesError = EnsembleError
UnsupportedObservableError = ObservableError
SplitError = InvalidTrainingError
UndefinedLimitError = InvalidTrainingError
NeuralTangentsError = MissingDependencyError
EncodingError = InvalidConfigurationsError
InitialStateError = AmplitudesError
NoExactSpectrumError = StructureError
MeasurementError = InvalidConfigurationsError
