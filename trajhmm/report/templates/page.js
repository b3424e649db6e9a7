"use strict";
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const names = new Intl.Collator("en", { numeric: true });
  const said = document.getElementById("said");

  function sortable(table) {
    const heads = all("thead th", table);
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      if (!head.classList.contains("sorts")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const numeric = head.classList.contains("number");
        const keyed = Array.from(body.rows, (row) => [row.cells[column].dataset.value, row]);
        keyed.sort(([a], [b]) => {
          if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
          return (numeric ? a - b : names.compare(a, b)) * (down ? -1 : 1);
        });
        body.append(...keyed.map(([, row]) => row));
        said.textContent = `sorted by ${button.textContent}, ${down ? "descending" : "ascending"}`;
      });
    });
  }

  const buttons = all("[data-state]");
  const profiles = all("[data-profile]");
  const count = document.getElementById("count");
  const unchosen = count ? count.textContent : "";
  let chosen = null;

  function show(state) {
    for (const profile of profiles) profile.hidden = profile.dataset.profile !== state;
  }

  function choose(state) {
    chosen = state;
    const visits = (element) => element.dataset.visits.split(" ").includes(state);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.state === state));
    for (const element of all("[data-visits]")) {
      element.classList.toggle("hit", state !== null && visits(element));
      element.classList.toggle("miss", state !== null && !visits(element));
    }
    for (const piece of all(".raster rect")) piece.classList.toggle("other", state !== null && !piece.classList.contains(`s${state}`));
    for (const arrow of all("[data-ends]")) {
      arrow.style.opacity = state === null || arrow.dataset.ends.split(" ").includes(state) ? "" : "0.25";
    }
    const bands = all(".raster li");
    const text = `${bands.filter((band) => band.classList.contains("hit")).length} of ${bands.length} runs visit state ${state}. Escape ends the highlight.`;
    count.textContent = state === null ? unchosen : text;
    said.textContent = state === null ? "no runs highlighted" : text;
    if (state !== null) show(state);
  }

  for (const button of buttons) {
    const state = button.dataset.state;
    const toggle = () => choose(chosen === state ? null : state);
    button.addEventListener("click", toggle);
    if (button.localName === "g") {
      button.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        toggle();
      });
    }
    for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, () => show(state));
    for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, () => chosen !== null && show(chosen));
  }
  if (buttons.length) {
    document.addEventListener("keydown", (event) => event.key === "Escape" && chosen !== null && choose(null));
    show(profiles[0].dataset.profile);
  }
  all("table").forEach(sortable);
  window.addEventListener("beforeprint", () => all("details").forEach((part) => (part.open = true)));
})();
