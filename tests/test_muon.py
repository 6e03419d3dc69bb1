"""The optimiser: what it does to matrices, what to the rest, and that it resumes."""

import torch
from torch import nn

from embodied.training.muon import Muon, orthogonal


def test_singular_values_come_near_one_and_directions_stay() -> None:
    matrix = torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = orthogonal(matrix)
    assert torch.linalg.svdvals(turned).sub(1.0).abs().max() < 0.35
    assert ((u.mT @ turned @ v.mT).diagonal(dim1=1, dim2=2) > 0.6).all()


def test_vectors_and_small_tables_are_adamws() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(2, 32))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    pair = Muon(ours, lr=0.01, weight_decay=0.1), torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1)
    for _ in range(3):
        for parameters, optimiser in zip((ours, theirs), pair, strict=True):
            optimiser.zero_grad()
            sum((p**2).sum() for p in parameters).backward()
            optimiser.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q)


def test_it_fits_an_ill_conditioned_map_sooner_than_adamw() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 24, generator=generator) * torch.logspace(0, -2, 24)
    outputs = inputs @ torch.randn(24, 12, generator=generator)
    left = []
    for make in (lambda p: Muon(p, lr=0.01), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0)):
        torch.manual_seed(1)
        model = nn.Linear(24, 12)
        optimiser = make(model.parameters())
        for _ in range(100):
            optimiser.zero_grad()
            loss = (model(inputs) - outputs).square().mean()
            loss.backward()
            optimiser.step()
        left.append(loss.item())
    assert left[0] < left[1]
