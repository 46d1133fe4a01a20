"""The referee's descent: from any point down to the minimum whose basin holds it, through narrow valleys too."""

from __future__ import annotations

import torch
from torch import Tensor

from lossatlas.probe import Gradients, Probe

STEEPEST, IMPLICIT = 400, 400
# As shares of the landscape's length: the longest step of either descent, and how near to a minimum it need not go on.
SHORT, LONG, NEAR = 0.02, 0.1, 0.002
# Hessians by differences of gradients, up to so many parameters.
LARGEST = 16


def descend(probe: Probe, points: Tensor, minima: Tensor, scale: float) -> Tensor:
    """Follow the negative gradient from each point until a minimum is near or nothing moves.

    First normalized steepest descent, whose steps grow on success and shrink on failure. What then still moves lies in
    a narrow valley or on a plain, where such steps get nowhere: it goes on by implicit Euler steps of the same flow,
    (H⁺ + λI) δ = −g with H⁺ the Hessian without its negative part, which stay on the valley's floor.

    Args:
        probe: the referee's probe.
        points: (B, N); what is not finite begins at zero.
        minima: (W, N), the known ones.
        scale: the landscape's length.

    Returns:
        (B, N), where each descent ended.
    """
    theta = torch.where(torch.isfinite(points), points, torch.zeros_like(points))
    theta, values, gradients, moving = _steepest(probe, theta, minima, scale)
    rows = moving.nonzero()[:, 0]
    if len(rows) and theta.shape[1] <= LARGEST:
        theta = theta.clone()
        theta[rows] = _implicit(probe, theta[rows], values[rows], gradients[rows], minima, scale)
    return theta


def hessians(probe: Probe, points: Tensor, scale: float | Tensor) -> Tensor:
    """Hessians (B, N, N) by central differences of gradients; zero where those are not finite.

    The distance to both sides is the cube root of the type's rounding, times the landscape's length, or that of each coordinate.
    """
    runs, n = points.shape
    h = torch.finfo(points.dtype).eps ** (1 / 3) * torch.as_tensor(
        scale, dtype=torch.float64, device=points.device
    ).expand(n)
    offsets = (h * torch.cat([torch.eye(n), -torch.eye(n)]).to(h)).to(points)
    around = (points[:, None] + offsets).reshape(-1, n)
    gradients = probe.evaluate(Gradients(around)).gradients.double().reshape(runs, 2, n, n)
    hessian = (gradients[:, 0] - gradients[:, 1]) / (2 * h[:, None])
    hessian = (hessian + hessian.transpose(1, 2)) / 2
    return torch.where(hessian.isfinite(), hessian, 0.0)


def _far(theta: Tensor, gradients: Tensor, minima: Tensor, scale: float) -> Tensor:
    far: Tensor = (gradients.norm(dim=1) > 1e-9) & (torch.cdist(theta, minima).amin(1) > NEAR * scale)
    return far


def _steepest(probe: Probe, theta: Tensor, minima: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    answer = probe.evaluate(Gradients(theta))
    values, gradients = answer.values, answer.gradients
    length = torch.full_like(values, SHORT * scale)
    moving = _far(theta, gradients, minima, scale)
    for _ in range(STEEPEST):
        if not bool(moving.any()):
            break
        trial = theta - (length / gradients.norm(dim=1).clamp_min(1e-300))[:, None] * gradients
        answer = probe.evaluate(Gradients(trial, active=moving))
        better = moving & (answer.values < values)
        theta = torch.where(better[:, None], trial, theta)
        values = torch.where(better, answer.values, values)
        gradients = torch.where(better[:, None], answer.gradients, gradients)
        length = torch.where(better, (1.5 * length).clamp_max(SHORT * scale), 0.5 * length)
        moving = _far(theta, gradients, minima, scale) & (length > 1e-12)
    return theta, values, gradients, moving


def _implicit(probe: Probe, theta: Tensor, values: Tensor, gradients: Tensor, minima: Tensor, scale: float) -> Tensor:
    longest = LONG * scale
    damping = gradients.norm(dim=1) / longest
    ended = theta.clone()
    rows = torch.arange(len(theta), device=theta.device)
    for _ in range(IMPLICIT):
        curvatures, axes = torch.linalg.eigh(hessians(probe, theta, scale))
        along = (axes.transpose(1, 2) @ gradients.double()[..., None])[..., 0] / (
            curvatures.clamp_min(0) + damping[:, None]
        )
        step = -(axes @ along[..., None])[..., 0]
        step = step * (longest / step.norm(dim=1).clamp_min(longest))[:, None]
        trial = theta + step.to(theta)
        answer = probe.evaluate(Gradients(trial))
        better = answer.values < values
        theta = torch.where(better[:, None], trial, theta)
        values = torch.where(better, answer.values, values)
        gradients = torch.where(better[:, None], answer.gradients, gradients)
        damping = torch.where(better, damping / 3, damping * 4)
        ended[rows] = theta
        keep = _far(theta, gradients, minima, scale) & (step.norm(dim=1) > 1e-12)
        rows, theta, values, gradients, damping = (part[keep] for part in (rows, theta, values, gradients, damping))
        if not len(rows):
            break
    return ended
