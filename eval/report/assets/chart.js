// A small plot in SVG: axes, curves or points, a tooltip by pointer, touch or keys.
const SVG = "http://www.w3.org/2000/svg";

const el = (name, attributes = {}, parent = null, text = null) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};

const html = (name, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
};

const MARKERS = {
  circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  square: (r) => `M${-0.9 * r} ${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  triangle: (r) => `M0 ${-1.2 * r}L${1.15 * r} ${0.9 * r}H${-1.15 * r}z`,
  diamond: (r) => `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0z`,
  down: (r) => `M0 ${1.2 * r}L${1.15 * r} ${-0.9 * r}H${-1.15 * r}z`,
  bar: (r) => `M${-1.3 * r} ${-0.5 * r}h${2.6 * r}v${r}h${-2.6 * r}z`,
};

const niceStep = (span, count) => {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.8);
};

const linearTicks = (low, high, count) => {
  const step = niceStep(high - low, count);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(i * step);
  return { major: out, minor: [], step };
};

const logTicks = (low, high, room) => {
  const all = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (let m = 1; m < 10; m++) {
      const v = m * 10 ** p;
      if (v >= low * 0.9999 && v <= high * 1.0001) all.push([v, m]);
    }
  }
  const fits = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].find(
    (set) => all.filter(([, m]) => set.includes(m)).length <= room,
  ) || [1];
  let major = all.filter(([, m]) => fits.includes(m)).map(([v]) => v);
  if (major.length < 2) major = all.map(([v]) => v);
  return { major, minor: all.map(([v]) => v).filter((v) => !major.includes(v)), step: 0 };
};

const plain = (value, step = 0) => {
  const digits = step ? Math.max(0, -Math.floor(Math.log10(step * 1.0001))) : 3;
  const extra = step && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6;
  let text = value.toFixed(Math.min(6, digits + (extra ? 1 : 0)));
  if (!step) text = String(Number(value.toPrecision(3)));
  return text.replace("-", "\u2212");
};

/* host: element. spec: {describe, x: {label, log, low?, high?, format?}, y: same, series:
   [{name, colour, marker, dashed, strong, line, points: [{x, y, label?, tip, click?}]}],
   horizontals: [{y, css}]}. A point's tip() gives the tooltip's nodes. */
const drawChart = (host, spec) => {
  const old = host.querySelector("svg");
  const width = Math.max(260, host.clientWidth);
  const height = Math.round(Math.min(560, Math.max(330, width * (spec.ratio || 0.54))));
  const box = { left: 56, right: 16, top: 14, bottom: 46 };
  const inner = { w: width - box.left - box.right, h: height - box.top - box.bottom };
  const points = spec.series.flatMap((s) => s.points);
  const svg = el("svg", {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    tabindex: "0",
    role: "img",
    "aria-label": spec.describe,
  });

  const axis = (which, size, tickRoom) => {
    const a = spec[which];
    const values = points.map((p) => p[which]).concat(a.include || []);
    let low = a.low ?? Math.min(...values);
    let high = a.high ?? Math.max(...values);
    if (!values.length || !Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0.1, 1];
    if (a.log) {
      const pad = a.low === undefined ? (high / low) ** 0.04 || 1 : 1;
      low = Math.max(1e-6, low / Math.max(pad, 1.03));
      high *= Math.max(a.high === undefined ? pad : 1, 1.0001);
      const t = (v) => ((Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low))) * size;
      return { t, low, high, ...logTicks(low, high, tickRoom) };
    }
    const span = high - low || Math.abs(high) || 1;
    low -= a.low === undefined ? span * 0.05 : 0;
    high += a.high === undefined ? span * 0.05 : 0;
    const t = (v) => ((v - low) / (high - low)) * size;
    return { t, low, high, ...linearTicks(low, high, tickRoom) };
  };
  const x = axis("x", inner.w, Math.max(3, Math.floor(inner.w / 56)));
  const y = axis("y", inner.h, Math.max(4, Math.floor(inner.h / 52)));
  const px = (v) => box.left + x.t(v);
  const py = (v) => box.top + inner.h - y.t(v);

  const grid = el("g", {}, svg);
  for (const [ticks, css] of [[x.minor, "grid fine"], [x.major, "grid"]]) {
    for (const v of ticks) el("line", { class: css, x1: px(v), x2: px(v), y1: box.top, y2: box.top + inner.h }, grid);
  }
  for (const [ticks, css] of [[y.minor, "grid fine"], [y.major, "grid"]]) {
    for (const v of ticks) el("line", { class: css, x1: box.left, x2: box.left + inner.w, y1: py(v), y2: py(v) }, grid);
  }
  for (const v of x.major) el("text", { x: px(v), y: box.top + inner.h + 18, "text-anchor": "middle" }, grid, plain(v, x.step));
  for (const v of y.major) el("text", { x: box.left - 8, y: py(v) + 4, "text-anchor": "end" }, grid, plain(v, y.step));
  el("text", { class: "axis-title", x: box.left + inner.w / 2, y: height - 6, "text-anchor": "middle" }, svg, spec.x.label);
  el("text", { class: "axis-title axis-y", x: 13, y: box.top + inner.h / 2, "text-anchor": "middle",
    transform: `rotate(-90 13 ${box.top + inner.h / 2})` }, svg, spec.y.label);

  const clip = `clip-${host.id}`;
  el("rect", { x: box.left - 6, y: box.top - 6, width: inner.w + 12, height: inner.h + 12 },
    el("clipPath", { id: clip }, el("defs", {}, svg)));
  const field = el("g", { "clip-path": `url(#${clip})` }, svg);
  for (const h of spec.horizontals || []) {
    if (h.y >= y.low && h.y <= y.high) {
      el("line", { class: h.css, x1: box.left, x2: box.left + inner.w, y1: py(h.y), y2: py(h.y) }, field);
    }
  }
  const guide = el("path", { class: "guide", d: "" }, field);
  const spots = [];
  const ordered = [...spec.series].sort((a, b) => (a.strong ? 1 : 0) - (b.strong ? 1 : 0));
  for (const series of ordered) {
    const group = el("g", { class: "series", "data-name": series.name }, field);
    const style = `stroke:var(${series.colour});fill:`;
    if (series.line && series.points.length > 1) {
      el("path", {
        d: "M" + series.points.map((p) => `${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)}`).join("L"),
        style: style + "none",
        "stroke-width": series.strong ? 3 : series.dashed ? 1.4 : 1.8,
        "stroke-dasharray": series.dashed ? "6 4" : "none",
        "stroke-linejoin": "round",
      }, group);
    }
    for (const p of series.points) {
      const at = [px(p.x), py(p.y)];
      const size = series.size || (series.strong ? 4.6 : series.dashed ? 2.2 : 3.2);
      el("path", {
        d: MARKERS[series.marker](size),
        transform: `translate(${at[0].toFixed(1)} ${at[1].toFixed(1)})`,
        style: style + (series.dashed ? "var(--paper)" : `var(${series.colour})`),
        "stroke-width": series.dashed ? 1.2 : 0.5,
      }, group);
      const inside = at[0] > box.left - 5 && at[0] < width - box.right + 5 && at[1] > box.top - 5 && at[1] < box.top + inner.h + 5;
      if (inside) spots.push({ at, p, series, group });
    }
  }
  placeNames(svg, spots, width - box.right, box);
  const ring = el("path", { class: "ring", d: "" }, svg);

  let tip = host.querySelector(".tip");
  if (!tip) {
    tip = html("div", { className: "tip", hidden: true });
    tip.setAttribute("role", "status");
    host.append(tip);
  }
  tip.hidden = true;
  host.classList.remove("hovering");
  let current = -1;

  const hide = () => {
    current = -1;
    tip.hidden = true;
    ring.setAttribute("d", "");
    guide.setAttribute("d", "");
    host.classList.remove("hovering");
    for (const s of spots) s.group.classList.remove("hot");
  };
  const show = (i) => {
    if (i === current) return;
    hide();
    current = i;
    const { at, p, series, group } = spots[i];
    ring.setAttribute("d", MARKERS.circle(series.strong ? 8 : 7));
    ring.setAttribute("transform", `translate(${at[0]} ${at[1]})`);
    guide.setAttribute("d", `M${box.left} ${at[1]}H${at[0]}V${box.top + inner.h}`);
    group.classList.add("hot");
    if (series.line) host.classList.add("hovering");
    tip.replaceChildren(...p.tip());
    tip.hidden = false;
    const room = host.clientWidth;
    const scale = room / width;
    const [cx, cy] = [at[0] * scale, at[1] * scale];
    let left = cx + 16;
    if (left + tip.offsetWidth > room) left = cx - 16 - tip.offsetWidth;
    left = Math.max(0, Math.min(left, room - tip.offsetWidth));
    let top = cy - tip.offsetHeight - 12;
    if (top < 0) top = cy + 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  };
  const nearest = (event) => {
    const r = svg.getBoundingClientRect();
    const at = [((event.clientX - r.left) / r.width) * width, ((event.clientY - r.top) / r.height) * height];
    let best = -1;
    let least = 48 ** 2;
    spots.forEach((s, i) => {
      const d = (s.at[0] - at[0]) ** 2 + (s.at[1] - at[1]) ** 2;
      if (d < least) [best, least] = [i, d];
    });
    if (best < 0) hide();
    else show(best);
  };
  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  svg.addEventListener("click", () => spots[current]?.p.click?.());
  svg.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && hide());
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    if (!spots.length) return;
    const names = [...new Set(spots.map((s) => s.series.name))].reverse();
    const here = spots[current] || spots.find((s) => s.series.strong) || spots[0];
    const mine = spots.filter((s) => s.series === here.series);
    let goal = null;
    if (current < 0 && event.key.startsWith("Arrow")) goal = here;
    else if (event.key === "ArrowRight") goal = mine[Math.min(mine.length - 1, mine.indexOf(here) + 1)];
    else if (event.key === "ArrowLeft") goal = mine[Math.max(0, mine.indexOf(here) - 1)];
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const step = event.key === "ArrowUp" ? names.length - 1 : 1;
      const name = names[(names.indexOf(here.series.name) + step) % names.length];
      const theirs = spots.filter((s) => s.series.name === name);
      goal = theirs.reduce((a, b) => (Math.abs(b.at[0] - here.at[0]) < Math.abs(a.at[0] - here.at[0]) ? b : a));
    } else if (event.key === "Escape") hide();
    else if (event.key === "Enter") spots[current]?.p.click?.();
    else return;
    event.preventDefault();
    if (goal) show(spots.indexOf(goal));
  });

  if (old) old.replaceWith(svg);
  else host.prepend(svg);
};

// Names beside their points, where they do not cover one another.
const placeNames = (svg, spots, limit, box) => {
  const taken = spots.map((s) => [s.at[0] - 5, s.at[1] - 5, s.at[0] + 5, s.at[1] + 5]);
  for (const { at, p, series } of spots) {
    if (!p.label) continue;
    const w = p.label.length * 6.9 + 4;
    const places = [[10, 4], [-10 - w, 4], [-w / 2, -11], [-w / 2, 21], [8, -9], [8, 17], [-8 - w, -9], [-8 - w, 17]];
    const free = places.find(([dx, dy]) => {
      const r = [at[0] + dx, at[1] + dy - 11, at[0] + dx + w, at[1] + dy + 3];
      if (r[0] < box.left || r[2] > limit + 8 || r[1] < 0) return false;
      const own = [at[0] - 5, at[1] - 5].join();
      return !taken.some((t) => t.slice(0, 2).join() !== own && r[0] < t[2] && r[2] > t[0] && r[1] < t[3] && r[3] > t[1]);
    });
    if (!free) continue;
    const [dx, dy] = free;
    taken.push([at[0] + dx, at[1] + dy - 11, at[0] + dx + w, at[1] + dy + 3]);
    el("text", { class: "name", x: at[0] + dx, y: at[1] + dy, style: series.strong ? `fill:var(${series.colour});font-weight:650` : "" }, svg, p.label);
  }
};

const swatch = (s) => {
  const svg = el("svg", { width: 26, height: 12, viewBox: "0 0 26 12", "aria-hidden": "true" });
  const style = `stroke:var(${s.colour});fill:${s.dashed ? "var(--paper)" : `var(${s.colour})`}`;
  el("path", { d: "M0 6H26", style, "stroke-width": s.strong ? 3 : 1.8, "stroke-dasharray": s.dashed ? "5 3" : "none" }, svg);
  el("path", { d: MARKERS[s.marker](s.dashed ? 2.4 : 3.6), transform: "translate(13 6)", style, "stroke-width": 1 }, svg);
  return svg;
};

// Radio buttons drawn as one bar; choices: [[value, text, disabled?]].
const segment = (id, choices, value, change) => {
  const field = document.getElementById(id);
  for (const [key, text, disabled] of choices) {
    const input = html("input", { type: "radio", name: id, value: key, checked: key === value, disabled: Boolean(disabled) });
    input.addEventListener("change", () => change(key));
    field.append(html("label", {}, input, html("span", { textContent: text })));
  }
};

const options = (id, choices, value, change) => {
  const select = document.getElementById(id);
  select.replaceChildren(...choices.map(([key, text]) => html("option", { value: key, textContent: text, selected: key === value })));
  select.onchange = () => change(select.value);
  return select;
};
