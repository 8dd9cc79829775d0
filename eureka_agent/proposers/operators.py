"""The three operators of the offline search: sample a genome, mutate one, cross several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random

from eureka_agent.contract.task import Task
from eureka_agent.proposers.grammar import Gate, Genome, Range, Role, Rule, Slot, Term, gates, slots, standing_height
from eureka_agent.proposers.naming import component_names
from eureka_agent.proposers.words import Wish, asked_direction, read_wish, relevance, sign_convention
from eureka_evaluation.components import ComponentStatistics
from eureka_sandbox.protocol import VariableSpec

MAX_TERMS = 8
UNDERSTOOD = 2.0
"""Least log-odds of the best term for the description to count as understood; below, every term is equally likely."""
DOUBT = 0.1
"""Share of goal terms that are drawn against the description, in case it was misread."""
Place = tuple[str, str, int | None]
"""Two terms in one place say the same twice: linear and clipped of one variable, or two kinds of shaping of it."""
ROLES: tuple[Role, ...] = ("goal", "shaping", "cost", "survival")
"""The order of terms in a reward."""


class Operators:
    """Makes genomes for one task from one source of randomness.

    Args:
        task: whose state variables and description count.
        rng: every random choice.
        keyword_prior: see `words.py`; without it every goal term and direction is equally likely.
    """

    def __init__(self, task: Task, rng: Random, keyword_prior: bool = True) -> None:
        self.variables = task.variables
        self.rng = rng
        self.slots = slots(task)
        self.signs = {v.name: sign_convention(v, self.variables) for v in self.variables}
        self.by_key = {slot.key: slot for slot in self.slots}
        self.wish = read_wish(task.spec.description) if keyword_prior else Wish()
        if max((self._relevance(slot) for slot in self.slots), default=0.0) < UNDERSTOOD:
            self.wish = Wish()
        self.gates = {"velocity": gates("velocity", task)}
        if not keyword_prior or "turning" in self.wish.themes:
            self.gates["angular_velocity"] = gates("angular_velocity", task)

    # -------------------------------------------------------------------------------------------------------- sample

    def sample(self) -> Genome:
        """One or two goal terms, some shaping, costs, and survival terms where episodes can end early.

        Where they can and nothing else is paid, staying alive is: else ending the episode would pay best.
        """
        terms = self._added([], ("goal", "shaping"), goal=True)
        if self.rng.random() < 0.3:
            terms = self._added(terms, ("goal", "shaping"), goal=True)
        for _ in range(self.rng.choice((0, 1, 1, 2, 2, 3))):
            terms = self._added(terms, ("shaping",))
        chances: tuple[tuple[Role, float], ...] = (("cost", 0.85), ("cost", 0.3), ("survival", 0.7), ("survival", 0.6))
        for role, chance in chances:
            if self.rng.random() < chance:
                terms = self._added(terms, (role,))
        alive = next((slot for slot in self.slots if slot.rule.form == "alive"), None)
        if alive and not any(term.weight > 0 for term in terms):
            terms = [*terms[: MAX_TERMS - 1], self._filled(alive, first=True)]
        return self._genome(terms)

    def _added(self, terms: Sequence[Term], roles: Sequence[Role], goal: bool = False) -> list[Term]:
        """`terms` and one more of these roles, if there is a free one."""
        free = self._free(terms, roles)
        if not free or len(terms) >= MAX_TERMS:
            return list(terms)
        doubts = goal and self.rng.random() < DOUBT
        slot = self.rng.choice(free) if doubts else self.rng.choices(free, [self._odds(s, goal) for s in free])[0]
        first = not any(t.variable == slot.variable.name for t in terms)
        return [*terms, self._filled(slot, first)]

    def _free(self, terms: Sequence[Term], roles: Sequence[Role]) -> list[Slot]:
        """Slots of these roles that say something which `terms` do not say yet."""
        taken = {self._place(term) for term in terms}
        return [slot for slot in self.slots if slot.rule.role in roles and _place(slot) not in taken]

    def _relevance(self, slot: Slot) -> float:
        return relevance(slot.variable, slot.rule.kind, slot.rule.form, self.signs[slot.variable.name], self.wish)

    def _odds(self, slot: Slot, goal: bool) -> float:
        score = self._relevance(slot)
        if not goal:
            return math.exp(min(score, 0.3 * score))
        return math.exp(score) * (1.0 if slot.rule.role == "goal" else 0.05)

    def _filled(self, slot: Slot, first: bool) -> Term:
        """A term in this slot with random numbers; `first` if no other term reads the variable yet."""
        rule = slot.rule
        asked = asked_direction(self.signs[slot.variable.name], self.wish)
        return Term(
            form=rule.form,
            variable=slot.variable.name,
            axis=slot.axis,
            direction=(asked or self.rng.choice((1, -1))) if rule.directed else 1,
            weight=_rounded(self._between(rule.weight)) * (rule.sign or self.rng.choice((1, -1))),
            scale=_rounded(self._between(rule.scale)),
            centre=self._centre(rule.form, slot.variable) if rule.kind == "height" else 0.0,
            gate=self._gate(slot, first),
        )

    def _centre(self, form: str, variable: VariableSpec) -> float:
        standing = standing_height(variable)
        if form == "clipped":
            return standing
        level = standing * self.rng.uniform(0.6, 0.95) if standing > 0 else standing + self.rng.uniform(-0.3, 0.1)
        return round(level, 2)

    def _gate(self, slot: Slot, first: bool) -> Gate | None:
        """Sometimes a posture in which alone the term counts.

        Travel may need an upright posture. For turning, the hard half is upside down: a charge for lying still there,
        or extra pay beside plain turning (never instead of it).
        """
        rule = slot.rule
        turning, idle = rule.kind == "angular_velocity", rule.form == "idle"
        possible = self.gates.get(rule.kind, ()) if rule.directed else ()
        if not possible or turning == (first and not idle) or (idle and not turning):
            return None
        if self.rng.random() > (0.7 if turning else 0.25):
            return None
        form, variable = self.rng.choice(possible)
        centre = self._centre("above", variable) if form == "above" else 0.0
        scale = {"near": (0.15, 0.6), "above": (0.04, 0.15), "inverted": (1.0, 1.0)}[form]
        return Gate(form=form, variable=variable.name, scale=_rounded(self._between(scale)), centre=centre)

    # -------------------------------------------------------------------------------------------------------- mutate

    def mutate(self, parent: Genome, statistics: Mapping[str, ComponentStatistics]) -> Genome:
        """Repair what the parent's training showed, then change one or two things at random.

        Args:
            parent: the genome to start from.
            statistics: of the parent's components while training, by name; may be empty.
        """
        terms = self._repaired(parent, statistics)
        for _ in range(self.rng.choice((1, 1, 2))):
            terms = self._edited(terms)
        return self._genome(terms)

    def _repaired(self, parent: Genome, statistics: Mapping[str, ComponentStatistics]) -> list[Term]:
        """Drop or boost dead components, damp dominant ones other than goals.

        Costs are small by nature, and a fall is rare in a policy that learned from it: both stay as they are.
        """
        terms = []
        for name, term in zip(component_names(parent, self.variables), parent.terms, strict=True):
            seen, role = statistics.get(name), self._rule(term).role
            if seen and seen.dead and role in ("goal", "shaping"):
                if role == "shaping" and self.rng.random() < 0.5:
                    continue
                term = self._weighted(term, self.rng.uniform(2.0, 6.0))
            elif seen and seen.dominant and role != "goal":
                term = self._weighted(term, self.rng.uniform(0.2, 0.6))
            terms.append(term)
        return terms or list(parent.terms)

    def _edited(self, terms: list[Term]) -> list[Term]:
        edit = self.rng.choices(
            ("weigh", "bend", "reform", "add", "remove", "replace", "flip"), (30, 20, 15, 18, 10, 5, 2)
        )[0]
        index = self.rng.randrange(len(terms))
        term, others = terms[index], [*terms[:index], *terms[index + 1 :]]
        needed = self._goals(terms) == [term]
        match edit:
            case "add":
                return self._added(terms, ROLES)
            case "remove" if others and not needed:
                return others
            case "replace":
                return self._added(others, (self._rule(term).role,))
            case "flip" if self._rule(term).directed:
                return [*others, term.model_copy(update={"direction": -term.direction})]
            case "reform":
                return [*others, self._reformed(term, others)]
            case "bend":
                return [*others, self._bent(term)]
            case _:
                return [self._weighted(t, self.rng.lognormvariate(0.0, 0.4)) for t in terms]

    def _reformed(self, term: Term, others: Sequence[Term]) -> Term:
        """The same variable in another form of the same role, for instance bounded instead of linear."""
        free = self._free(others, (self._rule(term).role,))
        variants = [s for s in free if s.key[1:] == term.key[1:] and s.rule.form != term.form]
        if not variants:
            return self._bent(term)
        fresh = self._filled(self.rng.choice(variants), first=True)
        return fresh.model_copy(update={"direction": term.direction, "gate": term.gate})

    def _bent(self, term: Term) -> Term:
        """Move the scale and the centre; terms without a scale get another weight instead."""
        low, high = self._rule(term).scale
        if low == high:
            return self._weighted(term, self.rng.lognormvariate(0.0, 0.6))
        scale = min(max(term.scale * self.rng.lognormvariate(0.0, 0.4), low / 3), high * 3)
        centre = term.centre + self.rng.gauss(0.0, 0.5) * term.scale if term.form == "above" else term.centre
        return term.model_copy(update={"scale": _rounded(scale), "centre": round(centre, 2)})

    def _weighted(self, term: Term, factor: float) -> Term:
        low, high = self._rule(term).weight
        size = min(max(abs(term.weight) * factor, low / 4), high * 4)
        return term.model_copy(update={"weight": math.copysign(_rounded(size), term.weight)})

    # --------------------------------------------------------------------------------------------------------- cross

    def cross(self, parents: Sequence[Genome]) -> Genome:
        """Exchange terms: each is inherited by chance, the fittest's more often; a shared one may come from either.

        Args:
            parents: at least two, fittest first.
        """
        terms: dict[Place, Term] = {}
        for rank, parent in enumerate(parents):
            for term in parent.terms:
                place = self._place(term)
                if self.rng.random() < (0.5 if place in terms or rank else 0.75):
                    terms[place] = term
        mixed = list(terms.values())
        if not self._goals(mixed):
            mixed += self._goals(parents[0].terms)[:1]
        if self.rng.random() < 0.5:
            mixed = [self._weighted(term, self.rng.lognormvariate(0.0, 0.2)) for term in mixed]
        return self._genome(mixed or parents[0].terms)

    # ------------------------------------------------------------------------------------------------------- helpers

    def _rule(self, term: Term) -> Rule:
        return self.by_key[term.key].rule

    def _place(self, term: Term) -> Place:
        return _place(self.by_key[term.key])

    def _goals(self, terms: Sequence[Term]) -> list[Term]:
        return [term for term in terms if self._rule(term).role == "goal"]

    def _genome(self, terms: Sequence[Term]) -> Genome:
        """Terms in the usual order (goals first, the ungated before the gated), at most `MAX_TERMS`."""
        index = {slot.key: i for i, slot in enumerate(self.slots)}

        def order(term: Term) -> tuple[int, bool, int]:
            return (ROLES.index(self._rule(term).role), term.gate is not None, index[term.key])

        return Genome(terms=tuple(sorted(terms, key=order)[:MAX_TERMS]))

    def _between(self, limits: Range) -> float:
        """Log-uniform."""
        low, high = limits
        return low * math.pow(high / low, self.rng.random())


def _place(slot: Slot) -> Place:
    rule = slot.rule
    what = "shaping" if rule.role == "shaping" else "straight" if rule.form in ("linear", "clipped") else rule.form
    return (what, slot.variable.name, slot.axis)


def _rounded(value: float) -> float:
    """Two significant digits: what the code shows is what the genome holds."""
    return float(f"{value:.2g}")
