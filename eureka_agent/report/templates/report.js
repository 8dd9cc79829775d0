// Makes the page handier: everything can be read without. No markup is ever made from text.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const on = (name, event, act) => all(`[data-do="${name}"]`).forEach((element) => {
    element.hidden = false;
    element.addEventListener(event, () => act(element));
  });

  // The theme that was chosen, for the next page too. Storage may be refused to a page from a file.
  const store = (act) => { try { return act(window.localStorage); } catch { return null; } };
  const known = store((storage) => storage.getItem("eureka-theme"));
  all('[name="theme"]').forEach((choice) => {
    choice.checked = choice.value === (known || "auto");
    choice.addEventListener("change", () => store((storage) => storage.setItem("eureka-theme", choice.value)));
  });

  // A link to a candidate opens its card.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const card = target && target.closest("details.card");
    if (!card) return;
    card.hidden = false;
    card.open = true;
    card.scrollIntoView({ block: "start" });
    card.querySelector("summary").focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link && link.getAttribute("href") === location.hash) reveal();
  });
  if (location.hash) reveal();

  // Family: all who a candidate comes from, and its children.
  const tree = document.querySelector(".tree svg");
  if (tree) {
    const edges = all(".edge", tree);
    const nodes = new Map(all(".node", tree).map((node) => [node.dataset.id, node]));
    const parents = (id) => (nodes.get(id)?.dataset.parents || "").split(" ").filter(Boolean);
    const family = (id) => {
      const elders = new Set();
      const climb = (name) => { if (!elders.has(name)) { elders.add(name); parents(name).forEach(climb); } };
      climb(id);
      return [elders, new Set([...nodes.keys()].filter((name) => parents(name).includes(id)))];
    };
    const light = (id) => {
      const [elders, children] = id ? family(id) : [new Set(), new Set()];
      tree.classList.toggle("lit", Boolean(id));
      edges.forEach((edge) => {
        const { parent, child } = edge.dataset;
        edge.classList.toggle("on", elders.has(child) || (parent === id && children.has(child)));
      });
      nodes.forEach((node, name) => node.classList.toggle("on", elders.has(name) || children.has(name)));
    };
    nodes.forEach((node, id) => {
      node.addEventListener("pointerenter", () => light(id));
      node.addEventListener("focus", () => light(id));
      node.addEventListener("pointerleave", () => light(null));
      node.addEventListener("blur", () => light(null));
    });
  }

  // The list of candidates: order, choice, all open or closed.
  const list = document.querySelector(".cards");
  if (list) {
    const cards = all(".card", list);
    const fitness = (card) => (card.dataset.fitness === "" ? -Infinity : Number(card.dataset.fitness));
    const count = document.querySelector("[data-count]");
    document.querySelector(".tools").hidden = false;
    on("order", "change", (select) => {
      const born = (a, b) => a.dataset.order - b.dataset.order;
      const best = (a, b) => (fitness(b) === fitness(a) ? born(a, b) : fitness(b) - fitness(a));
      list.append(...cards.sort(select.value === "fitness" ? best : born));
    });
    on("show", "change", (select) => {
      cards.forEach((card) => { card.hidden = Boolean(select.value) && card.dataset.state !== select.value; });
      count.textContent = select.value ? `${cards.filter((card) => !card.hidden).length} of ${cards.length}` : "";
    });
    on("open", "click", () => cards.forEach((card) => { card.open = !card.hidden; }));
    on("close", "click", () => cards.forEach((card) => { card.open = false; }));
  }

  on("play", "click", (button) => {
    const films = all(".films video");
    const start = films.every((film) => film.paused);
    films.forEach((film) => {
      if (start) { film.currentTime = 0; film.play(); } else { film.pause(); }
    });
    button.textContent = start ? "Pause all" : "Play all together";
  });
  on("copy", "click", (button) => {
    const text = button.parentElement.querySelector("pre").textContent;
    navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select and copy"; });
  });
})();
