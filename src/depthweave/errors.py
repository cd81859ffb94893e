"""Errors of depthweave: each says in one sentence what is wrong and what to do next."""


class DepthweaveError(Exception):
    """Base class: catch this to catch every error that depthweave raises on purpose."""


class WrongFile(DepthweaveError):
    """A file is missing, damaged, or not what its place calls for; the sentence names it."""


class WrongInput(DepthweaveError, ValueError):
    """Values, shapes or sizes that cannot be used together."""


class NeedsCalibration(DepthweaveError):
    """Metres were asked of a result whose camera or baseline is unknown."""


class NeedsMetric(DepthweaveError):
    """Metres were asked of a map whose scale (or scale and shift) is unknown."""


class UnknownModel(DepthweaveError, LookupError):
    """No model has that name."""


class MissingWeights(DepthweaveError, LookupError):
    """A model's weights are neither on this machine nor can they be fetched; the sentence says how to get them."""


class MissingLibrary(DepthweaveError, ImportError):
    """A library of an extra is not installed; the sentence says which."""


class UnknownBenchmark(DepthweaveError, LookupError):
    """No benchmark or protocol has that name."""


class NotEnoughMemory(DepthweaveError, MemoryError):
    """The work does not fit into the memory that is free."""


class NotFinite(DepthweaveError, ArithmeticError):
    """A network answered with values that are not finite, in float32 too."""


class SceneFailed(DepthweaveError):
    """A scene could not be drawn, rendered or written; the sentence names its number."""


class ExportFailed(DepthweaveError):
    """An exported file is not valid or does not answer as the network does."""


class DifferentConfiguration(DepthweaveError):
    """A run folder already holds results of another configuration."""


class NotWritable(DepthweaveError, OSError):
    """The output cannot be written where it was asked for."""


def sentence_of(error: Exception) -> str:
    """What a report of failed items says: our errors are sentences, others are told with their kind."""
    return str(error) if isinstance(error, DepthweaveError) else f"{type(error).__name__}: {error}"


class DepthweaveWarning(UserWarning):
    """Something looks wrong with the input, but a result can still be computed."""


class LicenceNotice(DepthweaveWarning):
    """The weights about to be used may not be used for everything."""
