"""One thread for each numerical library, set in the process itself.

How many threads a library uses would show in the last bits of its sums. Work is spread over
processes instead. TensorFlow is set up by `ser_core.models.runtime` before it starts, and loops
that numba compiles (`ser_core.features.compiled`) never use threads.
"""

from threadpoolctl import threadpool_limits


def use_one_thread() -> None:
    """Limit the BLAS and OpenMP libraries that this process has loaded to one thread each.

    The environment of the process, such as `OMP_NUM_THREADS`, makes no difference.
    """
    threadpool_limits(limits=1)
