"use strict";
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const names = new Intl.Collator("en", { numeric: true });
  const said = document.getElementById("said");

  function download(name, rows) {
    // A spreadsheet would work out what begins like a formula.
    const safe = (value) => (typeof value === "string" && /^[=+@\t\r-]/.test(value) && !(Number(value) < 0) ? `'${value}` : String(value));
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
    const text = rows.map((row) => row.map((value) => quoted(safe(value))).join(",") + "\r\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name.replace(/[^\w.-]+/g, "_");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    said.textContent = `${link.download} downloaded`;
  }
  window.trajhmm = { download };

  // What a cell holds rather than shows: numbers unrounded, names whole.
  function held(cell, numeric) {
    // A cell that says more than one number, an interval or "at least so many", is kept as it says it.
    const one = /^[−-]?\d[\d,.\s]*(?:e[+−-]?\d+)?\s*%?$/i, words = cell.textContent.trim();
    if (numeric && words !== "–" && words !== "" && !one.test(words)) return words.replace("∞", "inf").replace(/^−/, "-");
    if (cell.dataset.value !== undefined && (numeric || !cell.querySelector(".chips"))) return cell.dataset.value;
    const chips = all(".chip", cell);
    if (chips.length) return chips.map((chip) => chip.textContent).join(" ");
    const text = cell.textContent.trim();
    return text === "–" ? "" : text;
  }

  function downloadable(table) {
    const heads = all("thead th", table);
    const kept = heads.map((head, column) => column).filter((column) => !all("tbody tr", table).some((row) => row.cells[column].querySelector(".bar")));
    const name = table.caption.textContent;
    const titles = heads.map((head) => head.textContent.trim());
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "CSV";
    button.setAttribute("aria-label", `CSV of ${name}`);
    button.title = `Download ${name} as CSV`;
    button.addEventListener("click", () => {
      const numeric = (column) => heads[column].classList.contains("number") && !all("tbody tr", table).some((row) => row.cells[column].querySelector(".chip + .chip"));
      const rows = Array.from(table.tBodies[0].rows, (row) => kept.map((column) => held(row.cells[column], numeric(column))));
      download(`${name}.csv`, [kept.map((column) => titles[column]), ...rows]);
    });
    (table.closest(".scroll") ?? table).after(button);
  }

  function searchable(box) {
    const rows = Array.from(document.querySelector("#runs table").tBodies[0].rows);
    const words = box.querySelector("input[type=search]"), troubled = box.querySelector("input[type=checkbox]");
    const shown = box.querySelector(".count");
    function filter() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = Array.from(row.cells, (cell) => `${cell.textContent} ${cell.dataset.value ?? ""}`).join(" ").toLowerCase();
        const problem = row.cells[row.cells.length - 1].dataset.value !== undefined;
        row.hidden = !wanted.every((word) => text.includes(word)) || (troubled.checked && !problem);
      }
      const left = rows.filter((row) => !row.hidden).length;
      shown.textContent = left === rows.length ? "" : `${left} of ${rows.length} runs`;
    }
    words.addEventListener("input", filter);
    troubled.addEventListener("change", filter);
  }

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
  for (const part of all("[data-needs-script]")) part.hidden = false;
  const filters = document.getElementById("filters");
  if (filters) searchable(filters);
  for (const table of all("table")) {
    if (table.querySelector("thead .sorts")) downloadable(table);
    sortable(table);
  }
  window.addEventListener("beforeprint", () => all("details").forEach((part) => (part.open = true)));
})();
