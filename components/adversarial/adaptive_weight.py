"""How much the adversarial loss may weigh beside the reconstruction loss."""

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

EPSILON = 1e-4
LARGEST = 1e4


def adaptive_weight(
    reconstruction_loss: Float[Tensor, ""], adversarial_loss: Float[Tensor, ""], last_layer: nn.Parameter
) -> Float[Tensor, ""]:
    """Ratio of both losses' gradient norms at the last layer, clamped to [0, 1e4]; a constant to autograd.

    |d L_rec / d last| / (|d L_adv / d last| + 1e-4). Both graphs are kept for the backward pass.
    Where several processes train, gradients are averaged over them first: all share one weight, that of one
    process with their whole batch. Every process must call.
    Source: Esser et al. 2021 (VQGAN), equation (7), delta and clamp of the official code, which leaves each
    process its own weight.
    """
    gradients = torch.stack(
        [
            torch.autograd.grad(loss, last_layer, retain_graph=True)[0].detach().float()
            for loss in (reconstruction_loss, adversarial_loss)
        ]
    )
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(gradients)
        gradients /= distributed.get_world_size()
    reconstruction, adversarial = gradients.flatten(1).norm(dim=1)
    return (reconstruction / (adversarial + EPSILON)).clamp(0.0, LARGEST)
