"""The arithmetic of synthesis, on plain arrays: no randomness but an explicit seed, no classes.

Modules load on first use of a name, so that `import synthmed` does not wait for OpenCV and Numba.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "gaussian": ["gaussian_blur", "standard_noise"],
        "interpolation": ["affine_coordinates", "interpolate"],
        "noise": ["gradient_noise", "sign_noise", "unit_gradients"],
        "poisson": ["poisson_blend"],
        "radial": ["edge_ratio", "exit_ratio", "radial_coordinates"],
        "rotation": ["rotation_matrix"],
    },
)
