"""How the actions are used, and how far the body turns: saturation, chatter, energy, idle actuators, whole turns."""

from __future__ import annotations

import math

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.tracks import Array, Subject, Track, listed, number

AT_BOUND = 0.98
"""Part of the way from the middle of the range to its end from which an action counts as at the bound."""
MUCH = 0.5
TURNED_AWAY = 0.65
"""Share of an episode; a body that turns all the time is turned away for half of it."""
RECORDED = "In the recorded episodes"
CONSTANT = 0.05
"""Spread of an actuator, as part of half its range, below which it counts as constant."""


def scaled_actions(subject: Subject, t: Track) -> Array:
    """Actions with the middle of the range as 0 and its ends as -1 and 1, `(T, nu)`."""
    low, high = subject.action_bounds()
    half = np.where(high > low, (high - low) / 2, 1.0)
    return (t.actions - (low + high) / 2) / half


def effort(subject: Subject) -> float:
    """Mean squared action relative to its range: 0 idle, 1/3 uniform random, 1 always at a bound."""
    actions = np.concatenate([scaled_actions(subject, t) for t in subject.tracks])
    return float((actions**2).mean()) if actions.size else 0.0


def actions(subject: Subject) -> list[Finding]:
    """Saturation, chatter and actuators that are not used, over all recorded episodes."""
    parts = [scaled_actions(subject, t) for t in subject.tracks]
    a = np.concatenate(parts)
    if a.shape[1] == 0:
        return []
    changes = np.concatenate([np.diff(p, axis=0) for p in parts])
    findings = []
    at_bound = np.abs(a) >= AT_BOUND
    share, energy = float(at_bound.mean()), float((a**2).mean())
    flips = np.concatenate([np.sign(p[1:]) * np.sign(p[:-1]) < 0 for p in parts])
    turns = float(flips.mean()) if flips.size else 0.0
    jerk = float(np.abs(changes).mean()) if changes.size else 0.0
    numbers = {"at_bounds": share, "energy": energy, "change_per_step": jerk / 2, "sign_changes": turns}
    if share > MUCH:
        text = f"{RECORDED} actions are at their bounds {share:.0%} of the time: no finer control than on and off."
        findings.append(Finding("saturated_actions", 0.3 + 0.3 * share, text, numbers))
    if turns > 0.3 and jerk > 0.6:
        often = f"they change sign in {turns:.0%} of the steps"
        text = f"{RECORDED} actions chatter: {often} and by {jerk / 2:.0%} of their range per step."
        findings.append(Finding("chatter", 0.45, text, numbers))
    fixed = [i for i in range(a.shape[1]) if np.std(a[:, i]) < CONSTANT]
    if fixed and len(fixed) < a.shape[1]:
        means = np.concatenate([t.actions for t in subject.tracks]).mean(axis=0)
        stuck = [f"actions[{i}] at {number(means[i])}" for i in fixed]
        text = f"{RECORDED} some actuators hardly change: {listed(stuck)}."
        findings.append(Finding("idle_actuators", 0.45, text, {f"actions[{i}]": float(a[:, i].mean()) for i in fixed}))
    if energy < 0.02 and not subject.solved:
        size = f"its mean squared action is {number(energy)} of the largest (random play: 0.33)"
        text = f"{RECORDED} the policy hardly acts: {size}."
        findings.append(Finding("little_effort", 0.5, text, numbers))
    if not findings:
        size = f"at their bounds {share:.0%} of the time, mean squared {number(energy)} of the largest"
        text = f"{RECORDED} actions are {size}, changing by {jerk / 2:.0%} of their range per step."
        findings.append(Finding("actions", 0.1, text, numbers))
    return findings


def turns(subject: Subject) -> list[Finding]:
    """Whole turns of angles that are not wrapped, in the worst, the median and the best episode."""
    findings = []
    seen: list[Array] = []
    for label in subject.labels_of("angle"):
        turned = [t.column(label) - t.values[0, t.index[label]] for t in subject.tracks]
        net = np.array([c[-1] for c in turned]) / (2 * math.pi)
        reach = max(float(np.abs(c).max()) for c in turned) / (2 * math.pi)
        if reach < 0.75 or any(np.allclose(net, other, atol=0.01) for other in seen):
            continue
        seen.append(net)
        t, c = subject.median, turned[(len(turned) - 1) // 2]
        both = float(np.abs(np.diff(c)).sum()) / (2 * math.pi)
        numbers = {"worst": float(net[0]), "median": float(net[len(net) // 2]), "best": float(net[-1]), "path": both}
        told = " / ".join(number(n) for n in net)
        text = f"{label} turns {told} times net (worst to best episode)"
        net_median = abs(float(c[-1])) / (2 * math.pi)
        weight = 0.35
        if both > 2 * net_median + 0.5:
            text += f"; the median one goes to and fro, {number(both)} turns of way in all"
            weight = 0.7 if both > 4 * net_median + 2 else weight
        else:
            text += f", {number(net_median / t.seconds)} per second in the median one"
        findings.append(Finding("turns", weight, text + ".", numbers))
    return findings[:2]


def attitude(subject: Subject) -> list[Finding]:
    """A body that spends most of the median episode turned away from how it started: on its back, facing backwards."""
    t = subject.median
    for label in subject.labels_of("angle"):
        if subject.variable(label).frame == "joint":
            continue
        away = np.cos(t.column(label) - t.values[0, t.index[label]]) < 0
        share = float(away.mean())
        if share > TURNED_AWAY:
            mean = math.remainder(float(t.column(label)[away].mean()), 2 * math.pi)
            text = (
                f"For {share:.0%} of the median episode {label} is more than a quarter turn away from the reset (near "
                f"{number(mean)} without whole turns)."
            )
            return [Finding("turned_away", 0.65, text, {"share": share, "near": mean})]
    return []
