"""For `test_warm`: warm the cache, and print the compiled functions that Python code calls but warming did not."""

import sys
from types import CodeType, FunctionType

from connectome.runtime.warm import warm


def names_in(code):
    """Names that a function's code refers to, comprehensions included."""
    inner = [names_in(part) for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*inner)


def uncalled():
    modules = [module for name, module in sys.modules.items() if name.startswith("connectome.")]
    for function in [value for module in modules for value in vars(module).values() if isinstance(value, FunctionType)]:
        for name in names_in(function.__code__):
            called = function.__globals__.get(name)
            if hasattr(called, "py_func") and not called.signatures:
                yield f"{called.py_func.__module__}.{name}"


if __name__ == "__main__":
    warm()
    sys.stdout.write("\n".join(sorted(set(uncalled()))))
