"use strict";
(() => {
  const block = document.getElementById("data");
  if (!block) return;
  const data = JSON.parse(block.textContent);
  const byId = (id) => document.getElementById(id);
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const number = new Map([...letters].map((letter, at) => [letter, at]));
  const none = 64 ** 3 - 1;
  const chart = byId("chart");

  for (const run of data.runs) {
    const given = run.steps;
    if (!Array.isArray(given)) run.steps = Array.from({ length: given.count }, (_, at) => given.first + at * given.gap);
    run.path = run.states.flatMap(([state, count]) => Array(count).fill(state));
    run.decoded = [];
  }

  // Pairs of smallest and largest values of the stretches of a run, NaN where there is none.
  function values(run, metric) {
    if (run.decoded[metric]) return run.decoded[metric];
    const [low, high, logarithmic] = run.scales[metric];
    const text = run.values[metric];
    const found = [];
    for (let at = 0; at < text.length; at += 3) {
      const level = (number.get(text[at]) * 64 + number.get(text[at + 1])) * 64 + number.get(text[at + 2]);
      const part = level / (none - 1);
      const place = low * (1 - part) + high * part;
      found.push(level === none ? NaN : logarithmic ? 10 ** place : place);
    }
    const pairs = run.per > 1 ? run.steps.map((_, at) => [found[2 * at], found[2 * at + 1]]) : found.map((one) => [one, one]);
    return (run.decoded[metric] = pairs);
  }

  function short(value) {
    if (!value) return "0";
    const size = Math.abs(value);
    const text = size >= 1e-4 && size < 1e7 ? value.toLocaleString("en", { maximumSignificantDigits: 4 }) : value.toExponential(2).replace(/\.?0*e/, "e").replace(/e([+-])(\d+)/, (_, sign, power) => `×10${sign === "-" ? "⁻" : ""}${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`);
    return text.replace(/-/g, "−");
  }

  function ticks(low, high, most) {
    if (!(high > low)) return [low];
    const rough = (high - low) / most;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const gap = unit * [1, 2, 5, 10].find((times) => times * unit >= rough);
    const found = [];
    const first = Math.ceil(low / gap);
    // Counted, as a gap that is lost beside its tick would never end.
    for (let at = 0; at < 50; at += 1) {
      const tick = (first + at) * gap;
      if (!(tick <= high + gap * 1e-9)) break;
      if (!found.includes(tick)) found.push(tick);
    }
    return found;
  }

  function element(name, attributes, text) {
    const made = document.createElementNS(chart.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const ends = (runs) => [Math.min(...runs.map((run) => run.steps[0])), Math.max(...runs.map((run) => run.last))];

  function reach(runs, metric, [from, to]) {
    let low = Infinity, high = -Infinity;
    for (const run of runs) {
      values(run, metric).forEach(([least, most], at) => {
        const after = run.steps[at + 1] ?? run.last;
        if (run.steps[at] > to || after < from || Number.isNaN(least)) return;
        low = Math.min(low, least);
        high = Math.max(high, most);
      });
    }
    if (low > high) return [0, 1, false];
    if (low > 0 && high > 30 * low) return [low, high, true];
    return low === high ? [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2, false] : [low, high, false];
  }

  // Draws runs over the steps between two ends; gives the scales back, for pointing.
  function draw(svg, runs, metric, range, scale) {
    const wide = svg.clientWidth || 600, high = svg.clientHeight || 280;
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    const [least, most, logarithmic] = scale;
    const place = logarithmic ? Math.log10 : (value) => value;
    const [bottom, top] = [place(least), place(most)];
    let marks = ticks(bottom, top, high / 45);
    if (logarithmic) marks = [...new Set(marks.map(Math.round))].filter((mark) => mark >= bottom && mark <= top);
    if (!marks.length) marks = [bottom, top];
    const words = marks.map((mark) => short(logarithmic ? 10 ** mark : mark));
    const left = Math.max(...words.map((word) => word.length)) * 7 + 12;
    const frame = { left, right: wide - 14, top: 10, bottom: high - 26 };
    const [from, to] = range;
    const x = (step) => frame.left + ((step - from) / (to - from || 1)) * (frame.right - frame.left);
    const y = (value) => frame.bottom - ((place(value) - bottom) / (top - bottom || 1)) * (frame.bottom - frame.top);
    const parts = [];
    marks.forEach((mark, at) => {
      const up = y(logarithmic ? 10 ** mark : mark);
      parts.push(element("line", { class: "grid", x1: frame.left, x2: frame.right, y1: up, y2: up }));
      parts.push(element("text", { class: "up", x: frame.left - 6, y: up }, words[at]));
    });
    const shown = ticks(from, to, Math.max((frame.right - frame.left) / 70, 1)).filter((tick) => Number.isInteger(tick));
    for (const tick of shown) {
      const word = Math.round(tick).toLocaleString("en");
      const half = word.length * 3.5;
      parts.push(element("text", { x: Math.min(Math.max(x(tick), half), wide - half), y: high - 8 }, word));
    }
    const drawn = new Map();
    for (const run of runs) {
      const pairs = values(run, metric);
      let open = null, last = NaN;
      pairs.forEach(([smallest, largest], at) => {
        if (Number.isNaN(smallest)) return void (open = null);
        // The second of a stretch's two values stands in its middle.
        const places = [run.steps[at], (run.steps[at] + (run.steps[at + 1] ?? run.last)) / 2].map((step) => x(step).toFixed(1));
        const two = run.per === 1 ? [smallest] : Math.abs(last - smallest) <= Math.abs(last - largest) || Number.isNaN(last) ? [smallest, largest] : [largest, smallest];
        const line = two.map((value, part) => `${places[part]} ${y(value).toFixed(1)}`).join("L");
        const state = run.path[at];
        if (open !== null) drawn.get(open).push("L" + line);
        if (open !== state) {
          if (!drawn.has(state)) drawn.set(state, []);
          drawn.get(state).push("M" + line + (pairs.length === 1 ? "h0.1" : ""));
        }
        open = state;
        last = two[two.length - 1];
      });
    }
    // What lies beyond the steps shown is cut off by a drawing of its own.
    const inside = { x: frame.left, y: frame.top - 2, width: Math.max(frame.right - frame.left, 1), height: frame.bottom - frame.top + 4 };
    const lines = element("svg", { ...inside, viewBox: Object.values(inside).join(" "), overflow: "hidden" });
    for (const [state, path] of drawn) lines.append(element("path", { class: `line s${state}`, d: path.join("") }));
    parts.push(lines);
    svg.replaceChildren(...parts);
    return { frame, x, y, step: (across) => from + ((across - frame.left) / (frame.right - frame.left)) * (to - from) };
  }

  function stretch(run, at) {
    const from = run.steps[at];
    const to = run.per === 1 ? from : (run.steps[at + 1] ?? run.last);
    return from === to ? `step ${from.toLocaleString("en")}` : `steps ${from.toLocaleString("en")} to ${to.toLocaleString("en")}`;
  }

  const between = (low, high) => (low === high ? short(low) : `${short(low)} to ${short(high)}`);

  // The main chart.
  const tip = byId("tip"), metric = byId("metric"), only = byId("only");
  const whole = ends(data.runs);
  let range = whole, scales = null, dragged = null;
  const chosen = () => (only.value === "" ? data.runs : [data.runs[+only.value]]);

  function show() {
    const runs = chosen();
    scales = draw(chart, runs, +metric.value, range, reach(runs, +metric.value, range));
    const who = only.value === "" ? `${runs.length} runs` : runs[0].name;
    chart.setAttribute("aria-label", `${data.metrics[+metric.value]} of ${who} over steps ${Math.round(range[0])} to ${Math.round(range[1])}, coloured by state`);
  }

  function zoomTo(from, to) {
    const gap = Math.max(1, (whole[1] - whole[0]) / 2000);
    const width = Math.min(Math.max(to - from, gap), whole[1] - whole[0] || 1);
    const start = Math.min(Math.max(from, whole[0]), whole[1] - width);
    range = [start, start + width];
    show();
  }

  function nearest(event) {
    const box = chart.getBoundingClientRect();
    const across = event.clientX - box.left, down = event.clientY - box.top;
    const step = scales.step(across);
    let best = null;
    for (const run of chosen()) {
      let low = 0, high = run.steps.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (run.steps[middle] <= step) low = middle;
        else high = middle - 1;
      }
      if (run.per === 1 && low + 1 < run.steps.length && run.steps[low + 1] - step < step - run.steps[low]) low += 1;
      const [least, most] = values(run, +metric.value)[low];
      if (Number.isNaN(least)) continue;
      const up = [scales.y(least), scales.y(most)];
      const away = Math.max(down - up[0], up[1] - down, 0) + 0.2 * Math.abs(scales.x(run.steps[low]) - across);
      if (!best || away < best.away) best = { run, at: low, least, most, away, y: (up[0] + up[1]) / 2 };
    }
    return best;
  }

  function tell(event) {
    const found = nearest(event);
    for (const old of chart.querySelectorAll(".dot, .span")) old.remove();
    if (dragged !== null) {
      const at = event.clientX - chart.getBoundingClientRect().left;
      chart.append(element("rect", { class: "span", x: Math.min(at, dragged), y: scales.frame.top, width: Math.abs(at - dragged), height: scales.frame.bottom - scales.frame.top }));
    }
    if (!found) return;
    const { run, at, least, most } = found;
    chart.append(element("circle", { class: "dot", cx: scales.x(run.steps[at]), cy: found.y, r: 4 }));
    const state = run.path[at] < 0 ? "state not known" : `state ${run.path[at]}`;
    tip.textContent = `${data.metrics[+metric.value]} ${between(least, most)} · ${stretch(run, at)} · ${state} · ${run.name}`;
  }

  chart.addEventListener("pointermove", tell);
  chart.addEventListener("pointerdown", (event) => {
    dragged = event.clientX - chart.getBoundingClientRect().left;
    tell(event);
  });
  window.addEventListener("pointerup", (event) => {
    if (dragged === null) return;
    const at = event.clientX - chart.getBoundingClientRect().left;
    const [from, to] = [Math.min(at, dragged), Math.max(at, dragged)].map(scales.step);
    const moved = Math.abs(at - dragged) > 6;
    dragged = null;
    if (moved) zoomTo(from, to);
    else for (const old of chart.querySelectorAll(".span")) old.remove();
  });
  window.addEventListener("pointercancel", () => (dragged = null));
  chart.addEventListener("dblclick", () => zoomTo(...whole));
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const [from, to] = range, quarter = (to - from) / 4;
      const ways = { in: [from + quarter, to - quarter], out: [from - 2 * quarter, to + 2 * quarter], back: [from - quarter, to - quarter], on: [from + quarter, to + quarter], all: whole };
      zoomTo(...ways[button.dataset.zoom]);
    });
  }
  metric.addEventListener("change", show);
  only.addEventListener("change", show);
  byId("points").addEventListener("click", () => {
    const name = data.metrics[+metric.value];
    const rows = chosen().flatMap((run) => values(run, +metric.value).map(([low, high], at) => [run.name, run.steps[at], run.per === 1 ? run.steps[at] : (run.steps[at + 1] ?? run.last), ...[low, high].map((value) => (Number.isNaN(value) ? "" : Number(value.toPrecision(6)))), run.path[at] < 0 ? "" : run.path[at]]));
    window.trajhmm.download(`${name}.csv`, [["run", "from_step", "to_step", `${name} smallest`, `${name} largest`, "state"], ...rows]);
  });

  // Two runs side by side, on the same scales.
  const sides = ["a", "b"], other = byId("metric-of-two");
  const two = () => sides.map((side) => data.runs[+byId(`run-${side}`).value]);

  function strip(svg, run, [from, to], frame) {
    const wide = svg.clientWidth || 300;
    svg.setAttribute("viewBox", `0 0 ${wide} 18`);
    const x = (step) => frame.left + ((step - from) / (to - from || 1)) * (frame.right - frame.left);
    let at = 0;
    svg.replaceChildren(...run.states.flatMap(([state, count]) => {
      const left = x(run.steps[at]);
      at += count;
      const right = at < run.steps.length ? x(run.steps[at]) : x(run.last);
      const box = element("rect", { class: `s${state}`, x: left, y: 0, width: Math.max(right - left, 0.5), height: 18 });
      return right - left > 14 && state >= 0 ? [box, element("text", { class: `s${state}`, x: (left + right) / 2, y: 9 }, state)] : [box];
    }));
  }

  function compare() {
    const runs = two(), span = ends(runs), scale = reach(runs, +other.value, span);
    runs.forEach((run, place) => {
      const side = sides[place];
      byId(`name-${side}`).textContent = `${run.name}: ${data.metrics[+other.value]}`;
      byId(`head-${side}`).textContent = run.name;
      const drawn = draw(byId(`chart-${side}`), [run], +other.value, span, scale);
      strip(byId(`strip-${side}`), run, span, drawn.frame);
    });
    const states = [...new Set(runs.flatMap((run) => run.shares.map(([state]) => state)))].sort((a, b) => a - b);
    const names = [...new Set(runs.flatMap((run) => run.facts.map(([name]) => name)))];
    const rows = names.map((name) => [name, ...runs.map((run) => (run.facts.find(([own]) => own === name) ?? ["", "–"])[1])]);
    for (const state of states) {
      const share = (run) => (run.shares.find(([own]) => own === state) ?? [state, 0])[1];
      rows.push([state < 0 ? "Rows of no known state" : `Rows in state ${state}`, ...runs.map((run) => `${(100 * share(run)).toFixed(0)}%`)]);
    }
    const body = byId("both").tBodies[0];
    body.replaceChildren(...rows.map((row) => {
      const line = document.createElement("tr");
      row.forEach((text, at) => {
        const cell = document.createElement(at ? "td" : "th");
        if (!at) cell.scope = "row";
        cell.className = "text";
        cell.textContent = text;
        line.append(cell);
      });
      return line;
    }));
  }

  for (const side of sides) byId(`run-${side}`).addEventListener("change", compare);
  other.addEventListener("change", compare);
  const again = () => {
    show();
    compare();
  };
  new ResizeObserver(again).observe(chart);
  again();
})();
