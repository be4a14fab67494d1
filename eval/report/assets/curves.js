// The rate-distortion plot with its measures, axes, pictures and legend.
const METRICS = {
  psnr_rgb: { name: "PSNR RGB", axis: "PSNR RGB, dB", unit: " dB", digits: 2 },
  psnr_y: { name: "PSNR Y", axis: "PSNR Y, dB", unit: " dB", digits: 2 },
  ms_ssim: { name: "MS-SSIM", axis: "MS-SSIM", unit: "", digits: 4 },
  ms_ssim_db: { name: "MS-SSIM dB", axis: "MS-SSIM, dB", unit: " dB", digits: 2 },
  ssim: { name: "SSIM", axis: "SSIM", unit: "", digits: 4 },
};

const number = (value, digits) => value.toFixed(digits).replace("-", "\u2212");
const signed = (value, digits) => (value > 0 ? "+" : "") + number(value, digits);
const group = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u2009");

const mean = (values) => {
  const kept = values.filter((v) => v !== null);
  return kept.length ? kept.reduce((a, b) => a + b, 0) / kept.length : null;
};

const level = (setting) => (/^[\d.]+$/.test(setting) ? `level ${setting}` : setting);
const decibel = (m) => (m === null || m >= 1 ? null : -10 * Math.log10(1 - m));
const whole = (values) => (values.some((v) => v === null) ? null : mean(values));

// A codec's points of one measure: means where all pictures have it, or one picture's.
// MS-SSIM in dB is that of the mean, as the BD-rates take it.
const curveOf = (codec, metric, which) =>
  codec.points
    .map((p) => {
      const all = metric === "ms_ssim_db" ? decibel(whole(p.ms_ssim)) : whole(p[metric]);
      return {
        x: which < 0 ? whole(p.bpp) : p.bpp[which],
        y: which < 0 ? all : p[metric][which],
        setting: level(p.setting),
      };
    })
    .filter((p) => p.x !== null && p.y !== null)
    .sort((a, b) => a.x - b.x);

const publishedCurve = (p, metric) => {
  const { ms_ssim: plainly, ms_ssim_db: inDecibel } = p.measures;
  let found = p.measures[metric] || [];
  if (metric === "ms_ssim_db" && !inDecibel && plainly) found = plainly.map(([x, y]) => [x, decibel(y)]);
  if (metric === "ms_ssim" && !plainly && inDecibel) found = inDecibel.map(([x, y]) => [x, 1 - 10 ** (-y / 10)]);
  return found.filter(([, y]) => y !== null).map(([x, y]) => ({ x, y, setting: p.rate || "" }));
};

// Rate that a curve needs for a value: linear between points, on the logarithm of the rate.
const rateAt = (points, value) => {
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]];
    if (value >= a.y && value <= b.y && b.y > a.y) {
      const t = (value - a.y) / (b.y - a.y);
      return Math.exp(Math.log(a.x) * (1 - t) + Math.log(b.x) * t);
    }
  }
  return null;
};

const tipHead = (colour, name) => {
  const key = html("i", { className: "key" });
  key.style.background = `var(${colour})`;
  return html("b", {}, key, name);
};

const curves = (data) => {
  const host = document.getElementById("rd");
  const state = { metric: "psnr_rgb", scale: "log", which: -1, range: 0 };
  const all = [
    ...data.codecs.map((c) => ({ ...c, dashed: false, strong: c.ours })),
    ...data.published.map((p) => ({ ...p, dashed: true, strong: false })),
  ];
  const visible = new Map(all.map((c) => [c.key, c.shown]));
  const anchor = data.codecs.find((c) => c.key === data.anchor);

  const draw = () => {
    const m = METRICS[state.metric];
    const base = anchor ? curveOf(anchor, state.metric, state.which) : [];
    const series = all
      .filter((c) => visible.get(c.key))
      .map((c) => {
        const raw = c.dashed
          ? state.which < 0 ? publishedCurve(c, state.metric) : []
          : curveOf(c, state.metric, state.which);
        const name = c.dashed ? `${c.name} (published)` : c.name;
        const points = raw.map((p) => ({
          ...p,
          tip: () => {
            const other = c.key === data.anchor ? null : rateAt(base, p.y);
            const lines = [
              tipHead(c.colour, name),
              html("div", {}, p.setting),
              html("div", {}, `${number(p.x, 3)} bpp \u2192 ${number(p.y, m.digits)}${m.unit}`),
            ];
            if (other) {
              lines.push(html("span", {}, `${signed(100 * (p.x / other - 1), 0)} % bits against ${data.titles[data.anchor]} at this quality`));
            }
            return lines;
          },
        }));
        return { name, key: c.key, colour: c.colour, marker: c.marker, dashed: c.dashed, strong: c.strong, line: true, points };
      });
    const x = { label: "bits per pixel", log: state.scale === "log" };
    if (state.scale !== "log") x.low = 0;
    const shown = series.flatMap((s) => s.points);
    const y = { label: m.axis };
    if (state.range) {
      x.high = state.range;
      const ys = shown.filter((p) => p.x <= state.range).map((p) => p.y);
      if (ys.length) {
        const pad = 0.03 * (Math.max(...ys) - Math.min(...ys));
        y.low = Math.min(...ys) - pad;
        y.high = Math.max(...ys) + pad;
      }
    }
    const picture = state.which < 0 ? `mean of ${data.images.length} pictures` : data.images[state.which].name;
    drawChart(host, { series, x, y, describe: `${m.name} against bits per pixel, ${picture}; the table below has the BD-rates. Arrow keys read the points.` });
  };

  const any = (metric) => data.codecs.some((c) => c.points.some((p) => p[metric].some((v) => v !== null)));
  const update = (key) => (value) => {
    state[key] = key === "which" || key === "range" ? Number(value) : value;
    draw();
  };
  segment("metric", Object.entries(METRICS).map(([k, m]) => [k, m.name, !any(k)]), state.metric, update("metric"));
  segment("scale", [["log", "Log"], ["linear", "Linear"]], state.scale, update("scale"));
  options("which", [["-1", `mean of ${data.images.length}`], ...data.images.map((im, i) => [String(i), im.name])], "-1", update("which"));
  options("range", [["0", "all rates"], ["2", "to 2 bpp"], ["1", "to 1 bpp"], ["0.5", "to 0.5 bpp"]], "0", update("range"));

  const legend = document.getElementById("legend");
  const part = (title, list) => {
    if (!list.length) return;
    const buttons = list.map((c) => {
      const button = html("button", { type: "button", title: c.dashed ? `${c.source}${c.rate ? `; rate: ${c.rate}` : ""}` : `${c.version}; ${c.settings}` }, swatch(c), c.name);
      const mark = () => button.setAttribute("aria-pressed", String(visible.get(c.key)));
      button.addEventListener("click", () => {
        visible.set(c.key, !visible.get(c.key));
        mark();
        draw();
      });
      mark();
      return { c, mark, button };
    });
    const set = (choose, text) => {
      const button = html("button", { type: "button", textContent: text });
      button.addEventListener("click", () => {
        for (const b of buttons) {
          visible.set(b.c.key, choose(b.c));
          b.mark();
        }
        draw();
      });
      return button;
    };
    legend.append(
      html("div", {},
        html("h3", {}, title, set(() => true, "all"), set((c) => c.ours === true, "none"), set((c) => c.shown, "default")),
        html("div", { className: "keys" }, ...buttons.map((b) => b.button))),
    );
  };
  part("Measured here, solid", all.filter((c) => !c.dashed));
  part("Published by others, dashed", all.filter((c) => c.dashed));
  return draw;
};
