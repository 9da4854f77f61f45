"""Smallest changes onto a plane inside the box, by general solvers: slow, and nobody's projection."""

import numpy as np
from scipy.optimize import linprog, minimize


def furthest(point: np.ndarray, normal: np.ndarray, gap: float) -> np.ndarray:
    """The change inside the box that leads as far towards the plane as the box allows."""
    towards = normal * (1 if gap >= 0 else -1)
    return np.where(towards > 0, 1 - point, np.where(towards < 0, -point, 0))


def smallest_linf(point: np.ndarray, normal: np.ndarray, gap: float) -> float:
    """By linear programming over (d, t): the least t with −t ≤ d ≤ t, normal·d = gap, 0 ≤ point + d ≤ 1."""
    count = len(point)
    eye, ones = np.eye(count), np.ones((count, 1))
    found = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=np.block([[eye, -ones], [-eye, -ones]]),
        b_ub=np.zeros(2 * count),
        A_eq=np.append(normal, 0.0)[None],
        b_eq=[gap],
        bounds=[*((-p, 1 - p) for p in point), (0, None)],
    )
    assert found.success
    return found.fun


def smallest_l2(point: np.ndarray, normal: np.ndarray, gap: float) -> float:
    """By sequential quadratic programming."""
    far = furthest(point, normal, gap)
    found = minimize(
        lambda d: d @ d,
        far * (gap / (normal @ far)),
        jac=lambda d: 2 * d,
        bounds=[(-p, 1 - p) for p in point],
        constraints={"type": "eq", "fun": lambda d: normal @ d - gap, "jac": lambda d: normal},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return float(np.sqrt(found.fun))
