// Reviews: opinions on cards, comparisons of films, one file of all of it; on a served page also what happens now.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const section = one("#review");
  const sheet = section && one("[data-sheet]", section);
  if (!sheet) return;
  const { run, population, generations } = section.dataset;
  const served = section.dataset.served === "yes";
  const codes = new Map(all("[data-of]", section).map((entry) => [entry.dataset.of, entry.value]));
  const cards = new Map(all("details.card").map((card) => [card.dataset.id, card]));
  const show = (element, text) => { element.hidden = !text; element.textContent = text; };

  // What was written is kept until it is sent. Storage may be refused to a page from a file.
  const key = `eureka-review-${run}`;
  const store = (act) => { try { return act(window.localStorage); } catch { return null; } };
  const empty = () => ({ opinions: {}, preferred: [], picks: [], feedback: "" });
  const kept = () => {
    try {
      const found = { ...empty(), ...JSON.parse(store((storage) => storage.getItem(key)) || "{}") };
      const same = (id) => codes.has(id) && (!found.opinions[id] || found.opinions[id].code === codes.get(id));
      found.opinions = Object.fromEntries(Object.entries(found.opinions).filter(([id]) => same(id)));
      found.preferred = found.preferred.filter((pair) => pair.every(same));
      found.picks = found.picks.filter((pick) => pick.shown.every(same));
      return found;
    } catch { return empty(); }
  };
  let draft = kept();
  const opinion = (id) => (draft.opinions[id] ||= { code: codes.get(id), verdict: null, comment: "", edit: null });
  const says = (entry) => Boolean(entry.verdict || entry.comment.trim() || entry.edit !== null);
  const tally = () => {
    const entries = Object.values(draft.opinions).filter(says);
    const judged = draft.preferred.length + draft.picks.length;
    const parts = [];
    const count = (number, noun) => { if (number) parts.push(`${number} ${noun}${number === 1 ? "" : "s"}`); };
    count(entries.length, "opinion");
    count(judged, "comparison");
    if (draft.feedback.trim()) parts.push("feedback");
    one("[data-tally]", sheet).textContent = parts.length ? `Not sent yet: ${parts.join(", ")}.` : "Nothing to send yet.";
  };
  const changed = () => { store((storage) => storage.setItem(key, JSON.stringify(draft))); tally(); };

  // The form of a card is made when the card is opened, so that a page of many candidates opens at once.
  const codeOf = (card) => one("pre.code:not(.diff)", card)?.textContent.trimEnd() ?? "";
  const marked = (card) => {
    const verdict = draft.opinions[card.dataset.id]?.verdict;
    card.classList.toggle("approved", verdict === "approve");
    card.classList.toggle("rejected", verdict === "reject");
  };
  const form = (card) => {
    const id = card.dataset.id;
    if (!codes.has(id) || one(".opinion", card)) return;
    const made = one("[data-form]", section).content.cloneNode(true);
    const known = draft.opinions[id];
    one("legend", made).textContent = `Your opinion of ${id}`;
    all("[type=radio]", made).forEach((choice) => {
      choice.name = `verdict-${id}`;
      choice.checked = choice.value === (known?.verdict || "");
      choice.addEventListener("change", () => { opinion(id).verdict = choice.value || null; marked(card); changed(); });
    });
    const comment = one("[data-field=comment]", made);
    comment.value = known?.comment || "";
    comment.addEventListener("input", () => { opinion(id).comment = comment.value; changed(); });
    const [edit, field, drop] = ["[data-field=edit]", "[data-editing]", "[data-drop]"].map((name) => one(name, made));
    const open = (text) => { edit.value = text; field.hidden = drop.hidden = false; };
    if (known && known.edit !== null && known.edit !== undefined) open(known.edit);
    edit.addEventListener("input", () => {
      opinion(id).edit = edit.value.trimEnd() === codeOf(card) ? null : edit.value;
      changed();
    });
    one("[data-edit]", made).addEventListener("click", () => { if (field.hidden) open(`${codeOf(card)}\n`); edit.focus(); });
    drop.addEventListener("click", () => { opinion(id).edit = null; field.hidden = drop.hidden = true; changed(); });
    one(".inside", card).append(made);
  };
  cards.forEach((card) => {
    marked(card);
    card.addEventListener("toggle", () => { if (card.open) form(card); });
    if (card.open) form(card);
  });
  const feedback = one("[data-field=feedback]", sheet);
  feedback.addEventListener("input", () => { draft.feedback = feedback.value; changed(); });

  // Two films at a time: whoever was compared least comes next, and no pair comes twice.
  const films = [...cards.keys()].filter((id) => codes.has(id) && one(".inside video", cards.get(id)));
  const which = (figure, id) => {
    one("[data-name]", figure).textContent = id;
    one("[data-which]", figure).textContent = one(".small-film figcaption", cards.get(id)).textContent;
  };
  const film = (figure, id, preload) => {
    const source = one(".inside video", cards.get(id));
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, loop: true, controls: true, width: 480, height: 360, preload });
    if (source.poster) video.poster = source.poster;
    video.src = source.getAttribute("src");
    video.setAttribute("aria-label", `Film of ${id}`);
    one("video, .still", figure)?.remove();
    figure.prepend(video);
  };
  // Films are large: none is shown twice before somebody looks. Its place is kept, so that nothing moves then.
  const whenNear = (element, act) => new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    act();
  }, { rootMargin: "400px" }).observe(element);
  const duel = one("[data-duel]", sheet);
  const seats = all("figure", duel);
  const name = (pair) => [...pair].sort().join(" ");
  let pair = [];
  let near = false;
  const skipped = new Set();
  const next = () => {
    const met = new Map(films.map((id) => [id, 0]));
    draft.preferred.flat().forEach((id) => met.set(id, (met.get(id) || 0) + 1));
    const done = new Set([...draft.preferred.map(name), ...skipped]);
    const pairs = films.flatMap((a, i) => films.slice(i + 1).map((b) => [a, b])).filter((two) => !done.has(name(two)));
    const rank = ([a, b]) => met.get(a) + met.get(b);
    pair = pairs.reduce((best, two) => (best.length && rank(best) <= rank(two) ? best : two), []);
    duel.hidden = films.length < 2;
    seats.forEach((seat, side) => {
      seat.hidden = !pair.length;
      if (!pair.length) return;
      if (near) film(seat, pair[side], "auto");
      which(seat, pair[side]);
      one("button", seat).setAttribute("aria-label", `${pair[side]} is better`);
    });
    one("[data-duel-skip]", duel).disabled = one("[data-duel-play]", duel).disabled = !pair.length;
    one("[data-duel-undo]", duel).disabled = !draft.preferred.length;
  };
  all("[data-prefer]", duel).forEach((button) => button.addEventListener("click", () => {
    const side = Number(button.dataset.prefer);
    draft.preferred.push([pair[side], pair[1 - side]]);
    changed();
    next();
  }));
  one("[data-duel-skip]", duel).addEventListener("click", () => { skipped.add(name(pair)); next(); });
  one("[data-duel-undo]", duel).addEventListener("click", () => { draft.preferred.pop(); changed(); next(); });
  one("[data-duel-play]", duel).addEventListener("click", () => all("video", duel).forEach((video) => {
    video.currentTime = 0;
    video.play();
  }));

  // Best and worst of what one generation shows.
  const picks = one("[data-picks]", sheet);
  const chooser = one("[data-pick-of]", picks);
  const generation = (id) => Number(id.slice(1).split("c")[0]);
  let seen = false;
  const grouped = [...new Set(films.map(generation))].filter((g) => films.filter((id) => generation(id) === g).length > 2);
  const lay = () => {
    const chosen = films.filter((id) => generation(id) === Number(chooser.value));
    const made = chosen.map((id) => {
      const figure = one("[data-film]", section).content.firstElementChild.cloneNode(true);
      if (seen) film(figure, id, "metadata");
      which(figure, id);
      all("[type=radio]", figure).forEach((choice) => {
        choice.name = `pick-${choice.value}`;
        choice.dataset.id = id;
        choice.setAttribute("aria-label", `${id} is the ${choice.value}`);
      });
      return figure;
    });
    one("[data-pick-films]", picks).replaceChildren(...made);
  };
  chooser.append(...grouped.map((g) => new Option(String(g + 1), String(g))));
  picks.hidden = !grouped.length;
  if (grouped.length) {
    lay();
    whenNear(picks, () => {
      seen = true;
      all("figure", picks).forEach((figure) => film(figure, one("[data-name]", figure).textContent, "metadata"));
    });
  }
  chooser.addEventListener("change", lay);
  one("[data-pick-keep]", picks).addEventListener("click", () => {
    const chosen = (word) => one(`[name=pick-${word}]:checked`, picks)?.dataset.id ?? null;
    const [best, worst] = [chosen("best"), chosen("worst")];
    if ((!best && !worst) || best === worst) {
      show(one("[data-outcome]", sheet), "Choose a best or a worst film, and not the same for both.");
      return;
    }
    const shown = films.filter((id) => generation(id) === Number(chooser.value));
    draft.picks = draft.picks.filter((pick) => name(pick.shown) !== name(shown));
    draft.picks.push({ shown, best, worst });
    show(one("[data-outcome]", sheet), `Kept for generation ${Number(chooser.value) + 1}.`);
    changed();
  });

  // One file of everything.
  const whole = () => {
    const compared = new Set([...draft.preferred.flat(), ...draft.picks.flatMap((pick) => pick.shown)]);
    compared.forEach((id) => opinion(id));
    const opinions = Object.entries(draft.opinions).filter(([id, entry]) => says(entry) || compared.has(id));
    return JSON.stringify({
      format: 1, run, generations: Number(generations), population,
      opinions: opinions.map(([candidate, entry]) => ({ candidate, ...entry })),
      preferred: draft.preferred, picks: draft.picks, feedback: draft.feedback,
    }, null, 1);
  };
  const clear = () => {
    draft = empty();
    skipped.clear();
    store((storage) => storage.removeItem(key));
    feedback.value = "";
    all(".opinion").forEach((made) => made.remove());
    cards.forEach((card) => { marked(card); if (card.open) form(card); });
    tally();
    next();
  };
  const outcome = one("[data-outcome]", sheet);
  const post = async (path, body) => {
    const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const text = await response.text();
    if (!response.ok) throw new Error(text.trim() || `the server said ${response.status}`);
    return text.trim();
  };
  one("[data-save]", sheet).addEventListener("click", async () => {
    if (served) {
      try {
        const said = await post("review", whole());
        clear();
        show(outcome, said);
      } catch (error) { show(outcome, `Not sent: ${error.message}`); }
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([whole()], { type: "application/json" }));
    link.download = "review.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    show(outcome, "Saved as review.json among your downloads.");
  });
  one("[data-clear]", sheet).addEventListener("click", () => { clear(); show(outcome, "Cleared."); });

  feedback.value = draft.feedback;
  tally();
  next();
  whenNear(duel, () => { near = true; next(); });
  section.hidden = sheet.hidden = false;
  all('nav a[href="#review"]').forEach((link) => { link.hidden = false; });

  // A served page hears what happens now.
  const live = one("#live");
  if (!live) return;
  const place = (part) => one(`[data-live=${part}]`, live);
  const tell = (text) => { place("head").textContent = text; };
  const SVG = "http://www.w3.org/2000/svg";
  const curve = (points) => {
    const drawn = document.createElementNS(SVG, "svg");
    const path = document.createElementNS(SVG, "path");
    Object.entries({ class: "spark", viewBox: "0 0 96 24", width: 96, height: 24, "aria-hidden": "true" })
      .forEach(([attribute, value]) => drawn.setAttribute(attribute, value));
    const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
    const scale = (values, size) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      return (value) => (high > low ? ((value - low) / (high - low)) * size : size / 2);
    };
    const [x, y] = [scale(xs, 92), scale(ys, 20)];
    path.setAttribute("class", "line");
    path.setAttribute("d", points.map((point, i) => `${i ? "L" : "M"}${(2 + x(point[0])).toFixed(1)} ${(22 - y(point[1])).toFixed(1)}`).join(""));
    drawn.append(path);
    return drawn;
  };
  const cell = (content, tag = "td") => {
    const made = document.createElement(tag);
    made.append(...[content].flat().filter((part) => part !== null));
    return made;
  };
  const row = (entry) => {
    const made = document.createElement("tr");
    const bar = document.createElement("progress");
    bar.value = entry.share;
    bar.setAttribute("aria-label", `${entry.name}, share of the training that is done`);
    const head = cell(entry.name, "th");
    head.scope = "row";
    made.append(
      head, cell(entry.made), cell(entry.trouble || entry.state), cell(bar),
      cell([entry.own_return, entry.curve.length > 1 ? curve(entry.curve) : null]), cell(entry.speed), cell(entry.fitness),
    );
    return made;
  };
  const born = new Set(cards.keys());
  const shown = live.dataset.compared === "yes";
  let told = "";
  const fill = (news) => {
    tell(news.head);
    place("rows").replaceChildren(...news.rows.map(row));
    place("log").textContent = news.log.join("\n");
    const fresh = news.candidates.filter((id) => !born.has(id));
    const button = place("reload");
    const latest = fresh[fresh.length - 1];
    if (latest && latest !== told) place("said").textContent = `${told = latest} has ended.`;
    button.hidden = news.stage === live.dataset.stage;
    const anything = news.compared && !shown ? "Show the comparison" : "Show what is new";
    button.textContent = fresh.length ? `Show ${fresh.length} new: ${fresh.slice(-3).join(", ")}` : anything;
    all("[data-send]", live).forEach((send) => { send.disabled = !news.running; });
  };
  const events = new EventSource("events");
  events.addEventListener("news", (event) => fill(JSON.parse(event.data)));
  events.addEventListener("error", () => tell("No connection to the server: it has ended, or this page is old."));
  place("reload").addEventListener("click", () => location.reload());
  all("[data-send]", live).forEach((button) => button.addEventListener("click", async () => {
    try { place("said").textContent = await post("message", JSON.stringify({ kind: button.dataset.send })); tell(place("said").textContent); }
    catch (error) { tell(`Not sent: ${error.message}`); }
  }));
  live.hidden = false;
})();
