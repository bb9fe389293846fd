import torch
from torch.nn.functional import scaled_dot_product_attention

from components.flops import flop_counter


def test_attention_counts_on_a_cpu_too():
    q, k, v = (torch.randn(2, 3, 16, 8, requires_grad=True) for _ in range(3))
    with flop_counter() as counter:
        out = scaled_dot_product_attention(q, k, v)
    product = 2 * (2 * 3) * 16 * 16 * 8
    assert counter.get_total_flops() == 2 * product  # scores, and their sum over values
    with flop_counter() as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 5 * product  # scores again, and the gradients of both products
