"""AdamW over an adapter, as one long vector.

Why not torch's own: its first use imports torch's compiler, 2 s and 75 MB in every new trainer,
for arithmetic that fits on a page. As one vector the dozens of small tensors of an adapter cost
no more calls than one (per update about what torch's fused AdamW with clipping takes, and a
third of its other ways), and the moments are saved as they lie.

Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019), algorithm 2, with
the bias corrections moved into step size and epsilon. The tests compare with torch's.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_LARGEST = torch.finfo(torch.float32).max  # torch refuses larger factors


class AdamW:
    """Takes over the storage of `parameters`: from now on they are views of one vector. Change
    their numbers in place, and never put other tensors in their stead."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        max_grad_norm: float,
    ) -> None:
        self._parameters = dict(parameters)
        self._betas = betas
        self._eps = eps
        self._weight_decay = weight_decay
        self._max_grad_norm = max_grad_norm
        self._values = torch.cat([p.detach().reshape(-1) for p in self._parameters.values()])
        self._mean = torch.zeros_like(self._values)  # running, of gradients
        self._square = torch.zeros_like(self._values)  # running, of squared gradients
        self._work = torch.empty_like(self._values)  # gradients, then the denominator
        for name, view in self._views(self._values).items():
            self._parameters[name].data = view

    def step(self, num_updates: int, learning_rate: float) -> Tensor:
        """Make update number `num_updates` (1-based) from the gradients and drop them.

        Gives the norm that the gradients had before they were clipped, 0-dim: nothing here
        waits for the device.
        """
        gradient = self._take_gradients()
        norm: Tensor = torch.linalg.vector_norm(gradient)
        gradient.mul_((self._max_grad_norm / (norm + 1e-6)).clamp(max=1.0))

        mean_beta, square_beta = self._betas
        self._mean.lerp_(gradient, 1 - mean_beta)
        self._square.mul_(square_beta).addcmul_(gradient, gradient, value=1 - square_beta)
        # mean/c1 / (sqrt(square/c2) + eps)  =  sqrt(c2)/c1 · mean / (sqrt(square) + eps·sqrt(c2))
        mean_correction = 1 - mean_beta**num_updates
        square_correction = math.sqrt(1 - square_beta**num_updates)
        step_size = min(learning_rate * square_correction / mean_correction, _LARGEST)
        denominator = torch.sqrt(self._square, out=self._work).add_(self._eps * square_correction)
        if self._weight_decay:
            self._values.mul_(1 - learning_rate * self._weight_decay)
        self._values.addcdiv_(self._mean, denominator, value=-step_size)
        return norm

    def weight_norm(self) -> Tensor:
        """Not finite as soon as a weight is not, or so large that its square is not; 0-dim."""
        norm: Tensor = torch.linalg.vector_norm(self._values)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The running moments under their parameters' names; views, not copies."""
        return {
            f"{name}.{moment}": view
            for moment, vector in self._moments().items()
            for name, view in self._views(vector).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors()` gave. Raises KeyError where a parameter is missing."""
        for name, view in self.tensors().items():
            view.copy_(tensors[name])

    def _take_gradients(self) -> Tensor:
        """All gradients as one vector, zeros where there are none; the parameters have none
        afterwards."""
        gradients = []
        for parameter in self._parameters.values():
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            gradients.append(gradient.reshape(-1))
            parameter.grad = None
        return torch.cat(gradients, out=self._work)

    def _moments(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "square": self._square}

    def _views(self, vector: Tensor) -> dict[str, Tensor]:
        pieces = torch.split(vector, [p.numel() for p in self._parameters.values()])
        return {
            name: piece.view(parameter.shape)
            for (name, parameter), piece in zip(self._parameters.items(), pieces, strict=True)
        }
