// The scatter over pictures, the timing plot, the sortable table and the layers' switch.
const SCATTER = {
  bd_psnr: { name: "BD-rate by PSNR", axis: "BD-rate by PSNR, %", unit: " %", digits: 1 },
  bd_ms_ssim: { name: "BD-rate by MS-SSIM", axis: "BD-rate by MS-SSIM in dB, %", unit: " %", digits: 1 },
  "at_0.25": { name: "PSNR at 0.25 bpp", axis: "PSNR difference at 0.25 bpp, dB", unit: " dB", digits: 2 },
  "at_0.5": { name: "PSNR at 0.5 bpp", axis: "PSNR difference at 0.5 bpp, dB", unit: " dB", digits: 2 },
  at_1: { name: "PSNR at 1 bpp", axis: "PSNR difference at 1 bpp, dB", unit: " dB", digits: 2 },
};

const scatterPlot = (data, open) => {
  const host = document.getElementById("scatter");
  const note = document.getElementById("scatter-note");
  const peers = Object.keys(data.scatter);
  if (!peers.length) {
    document.getElementById("pictures").hidden = true;
    return () => {};
  }
  const state = { peer: peers.includes(data.anchor) ? data.anchor : peers[0], by: "bd_psnr" };
  const thumb = new Map(data.images.map((im) => [im.name, im.thumb]));
  const draw = () => {
    const m = SCATTER[state.by];
    const kept = data.scatter[state.peer].filter((p) => p.hardness !== null && p[state.by] !== null);
    const points = kept.map((p) => ({
      x: p.hardness,
      y: p[state.by],
      label: p.image.replace(/^kodim0?/, ""),
      click: () => open(p.image) && document.getElementById("look").scrollIntoView(),
      tip: () => [
        html("b", {}, p.image),
        thumb.get(p.image) ? html("img", { src: thumb.get(p.image), alt: "" }) : null,
        html("div", {}, `${m.name}: ${signed(p[state.by], m.digits)}${m.unit}`),
        html("span", {}, `${data.titles[state.peer]} needs ${number(p.hardness, 2)} bpp for ${data.hardness_at} dB`),
      ].filter(Boolean),
    }));
    const middle = mean(points.map((p) => p.y));
    drawChart(host, {
      ratio: 0.46,
      series: [{ name: state.peer, colour: "--c0", marker: "circle", size: 4.6, strong: false, points }],
      horizontals: [{ y: 0, css: "zero" }, ...(middle === null ? [] : [{ y: middle, css: "mean" }])],
      x: { label: `bits per pixel that ${data.titles[state.peer]} needs for ${data.hardness_at} dB`, log: true },
      y: { label: m.axis, include: [0] },
      describe: `${m.name}, dctcodec against ${data.titles[state.peer]}, one point per picture. Arrow keys read the points.`,
    });
    const missing = data.images.length - kept.length;
    const words = middle === null ? "No picture's curves reach this." : `Mean over the pictures shown (dotted): ${signed(middle, m.digits)}${m.unit}.`;
    note.textContent = words + (missing && kept.length ? ` Left out because a curve does not reach there: ${missing}.` : "");
  };
  options("peer", peers.map((p) => [p, data.titles[p]]), state.peer, (v) => {
    state.peer = v;
    draw();
  });
  options("by", Object.entries(SCATTER).map(([k, m]) => [k, m.name]), state.by, (v) => {
    state.by = v;
    draw();
  });
  return draw;
};

const timingPlot = (data) => {
  const host = document.getElementById("timing");
  const state = { way: "decode", by: "bd_rate_psnr" };
  const draw = () => {
    const series = data.codecs
      .filter((c) => c.speed[state.way] && c.summary[state.by] !== null)
      .map((c) => ({
        name: c.name,
        colour: c.colour,
        marker: c.marker,
        strong: c.ours,
        size: c.ours ? 6.5 : 5,
        points: [{
          x: c.speed[state.way],
          y: c.summary[state.by],
          label: c.name,
          tip: () => [
            tipHead(c.colour, c.name),
            html("div", {}, `${signed(c.summary[state.by], 1)} % bits against ${data.titles[data.anchor]}`),
            html("div", {}, `${plain(c.speed[state.way])} megapixels per second, ${state.way}`),
            html("span", {}, `${plain(1 / c.speed[state.way])} s per megapixel, at ${level(c.speed.setting)}`),
          ],
        }],
      }));
    drawChart(host, {
      ratio: 0.46,
      series,
      horizontals: [{ y: 0, css: "zero" }],
      x: { label: `megapixels per second, ${state.way === "decode" ? "decoding" : "encoding"}`, log: true },
      y: { label: `BD-rate against ${data.titles[data.anchor]}, %`, include: [0] },
      describe: `BD-rate against ${state.way} speed, one point per codec. Arrow keys read the points.`,
    });
  };
  const set = (key) => (value) => {
    state[key] = value;
    draw();
  };
  segment("way", [["decode", "Decode"], ["encode", "Encode"]], state.way, set("way"));
  segment("rateby", [["bd_rate_psnr", "PSNR"], ["bd_rate_ms_ssim", "MS-SSIM"]], state.by, set("by"));
  return draw;
};

const sortableTable = (table) => {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = cell.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      for (const c of table.tHead.rows[0].cells) c.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value;
      const rows = [...body.rows].sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        if (p === "" || q === "") return (p === "") - (q === "");
        const order = Number.isNaN(Number(p)) ? p.localeCompare(q) : Number(p) - Number(q);
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
};

const layerSwitch = () => {
  const button = document.getElementById("added");
  const strip = document.getElementById("strip");
  const frames = [...strip.querySelectorAll(".frame")];
  frames.slice(1).forEach((frame, i) => {
    frame.append(html("img", { className: "before", src: frames[i].querySelector("img").src, alt: "" }));
  });
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    strip.classList.toggle("added", on);
  });
  if (!frames.length) document.getElementById("layers").hidden = true;
};
