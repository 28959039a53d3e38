"""oneDNN's products in the place of PyTorch's: the same numbers and gradients, in a few sizes, from the same parameters."""

import copy

import numpy as np
import pytest
import torch
from conftest import make_model, walk

from model import FUSE
from running import products

SHAPES = ((0, 4, 24), (24,), (1, 24), (5, 3, 24), (products.ROWS + 1, 24), (3 * products.ROWS, 24))


def test_products_are_of_few_sizes():
    """Each size that is asked for is compiled once, and stays."""
    assert all(products.rows_asked(n) >= n for n in range(products.ROWS + 1))
    assert len({products.rows_asked(n) for n in range(products.ROWS + 1)}) < 16


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_products_leave_no_row_out(shape):
    linear, x = torch.nn.Linear(24, 8), torch.randn(shape)
    with torch.inference_mode():
        np.testing.assert_allclose(products.Packed((linear.weight, linear.bias))(x), linear(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [8, 40])
def test_products_train_with_the_gradients_of_pytorchs(shape, width):
    linear, x = torch.nn.Linear(24, width), torch.randn(shape)
    found = []
    for layer in (linear, products.Trained(linear)):
        of_x = x.clone().requires_grad_()
        out = layer(of_x)
        of_loss = torch.autograd.grad(out.square().sum(), (of_x, layer.weight, layer.bias))
        found.append((out.detach(), *of_loss))
        np.testing.assert_array_equal(layer(x).detach(), out.detach())  # of what needs no gradient
    for ours, theirs in zip(*reversed(found), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_model_trains_by_them_with_its_own_parameters_and_random_numbers_untouched():
    model, clips = make_model(), torch.tensor(walk(200)).unflatten(0, (-1, 4))
    plain, before, random = copy.deepcopy(model), list(model.parameters()), torch.get_rng_state()
    products.train_by(model)
    assert all(one is other for one, other in zip(before, model.parameters(), strict=True))
    assert [*model.state_dict()] == [*plain.state_dict()] and torch.equal(random, torch.get_rng_state())
    assert isinstance(model.layers[0].mlp.fc, products.Trained) and not isinstance(model.classifier, products.Trained)
    for one in (model, plain):
        one.train()(clips, torch.tensor([0, 30]), key_clips=True, scales=FUSE).logits.square().sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            far = (ours.grad - theirs.grad).norm() / theirs.grad.norm().clamp_min(1e-9)
            assert far < 1e-4, (name, far)
