"""The network with its optimiser: gradients of a step, and the step itself."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from unetr.training.batches import Batch
from unetr.training.ema import Ema
from unetr.training.losses import supervised
from unetr.training.precision import DTYPES, Precision
from unetr.training.ready import prepare
from unetr.training.recipe import Recipe


class Learner:
    """Weights, their average, the optimiser's moments and the gradient scaler.

    Args:
        network: On `device`; with several processes the same in each.
        world: Number of processes; gradients are averaged over them.
        partial: The network has weights that a step may not use.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        precision: Precision,
        world: int = 1,
        partial: bool = False,
    ) -> None:
        self.network = prepare(network, compiled=False)
        self.recipe, self.device = recipe, device
        self.dtype = DTYPES[precision]
        training = recipe.training
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=training.lr or 0.0,
            weight_decay=training.weight_decay,
            fused=device.type in ("cpu", "cuda", "mps"),
        )
        self.ema = Ema(network, training.ema) if training.ema else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._compiled = False
        self._forward: nn.Module = network
        if world > 1:
            # Of layouts that cost a copy of a few small kernels, which nobody can change.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket")
            self._forward = nn.parallel.DistributedDataParallel(
                network,
                device_ids=[device.index] if device.type == "cuda" else None,
                find_unused_parameters=partial,
            )

    def gradients(self, batches: Sequence[Batch], seed: int) -> tuple[Tensor, Tensor]:
        """Sums the gradients of the batches of a step, each a part of it.

        Args:
            seed: For dropout.

        Returns:
            The mean loss of this process, and the norm of the gradient over all processes, which
            is clipped as the recipe says. They stay on the device: to read them is to wait for it.
        """
        torch.manual_seed(seed)
        self.network.train()
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches, 1):
            with self._apart(last=number == len(batches)):
                loss = self._loss(batch) / len(batches)
                torch.autograd.backward(self.scaler.scale(loss))
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        return total, self._clipped()

    def expect_many(self) -> None:
        """So many steps are to come that compiling parts of the network pays."""
        if not self._compiled:
            self._compiled = True
            prepare(self.network)

    def _clipped(self) -> Tensor:
        """The norm of the gradient, before it was clipped where the recipe says so."""
        parameters = list(self.network.parameters())
        if most := self.recipe.training.clip_norm:
            return nn.utils.clip_grad_norm_(parameters, most)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self._forward(batch.x)
        return supervised(outputs, batch.y, self.recipe.loss)

    def _apart(self, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients once a step: with its last batch."""
        if last or not isinstance(self._forward, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self._forward.no_sync()

    def apply(self, lr: float, step: int) -> None:
        """Makes step number `step` (from 1) with the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(step)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Within the block the network has the weights that are kept, and predicts."""
        self.network.eval()
        with self.ema.in_place() if self.ema is not None else nullcontext():
            yield

    def state(self) -> dict[str, Any]:
        """What `load` needs to continue exactly; tensors are not copied."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.average if self.ema is not None else [],
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continues from `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load(state["ema"])
