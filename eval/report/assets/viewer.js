// Two versions of a picture with a border between them that moves.
const viewer = (data) => {
  const items = data.gallery;
  const get = (id) => document.getElementById(id);
  if (!items.length) {
    get("viewer").hidden = true;
    return { draw: () => {}, open: () => {} };
  }
  const stage = get("stage");
  const state = { item: 0, left: null, right: null, zoom: "1", share: 50, x: 0.5, y: 0.5 };
  const panels = () => items[state.item].panels;
  const find = (codec) => panels().find((p) => p.codec === codec) || panels()[0];

  const place = () => {
    const [, , w, h] = items[state.item].box;
    const room = get("viewer").clientWidth;
    const zoom = state.zoom === "fit" ? Math.min(room / w, 1) : Number(state.zoom);
    const size = [Math.min(w * zoom, room), Math.min(h * zoom, Math.max(360, innerHeight * 0.82))];
    if (state.zoom === "fit") size[1] = h * zoom;
    stage.style.width = get("slider").style.width = `${size[0]}px`;
    stage.style.height = `${size[1]}px`;
    const at = [(w * zoom - size[0]) * state.x, (h * zoom - size[1]) * state.y].map(Math.round);
    for (const img of stage.querySelectorAll("img")) {
      img.style.width = `${w * zoom}px`;
      img.style.height = `${h * zoom}px`;
      img.style.transform = `translate(${-at[0]}px, ${-at[1]}px)`;
    }
    stage.classList.toggle("sharp", state.zoom !== "fit" && Number.isInteger(zoom * devicePixelRatio));
    get("over").style.clipPath = `inset(0 0 0 ${state.share}%)`;
    get("divider").style.left = `${state.share}%`;
    const cut = w * zoom > size[0] + 1 || h * zoom > size[1] + 1;
    get("map").hidden = !cut;
    if (cut) {
      const map = get("map-img");
      const [mw, mh] = [(64 * w) / h, 64];
      map.style.width = `${mw}px`;
      const frame = get("map-box");
      frame.style.left = `${(at[0] / (w * zoom)) * mw}px`;
      frame.style.top = `${(at[1] / (h * zoom)) * mh}px`;
      frame.style.width = `${(size[0] / (w * zoom)) * mw}px`;
      frame.style.height = `${(size[1] / (h * zoom)) * mh}px`;
    }
    const dense = devicePixelRatio === 1 || state.zoom === "fit" ? "" : ` This screen draws it with ${number(devicePixelRatio * zoom, 2)} of its own pixels a side.`;
    get("pixel-note").textContent =
      state.zoom === "fit" ? "Scaled to fit." : `One picture pixel is ${state.zoom} CSS pixel${state.zoom === "1" ? "" : "s"} a side.${dense}`;
  };

  const facts = (p) => {
    if (p.codec === "original") return "original";
    return `${data.titles[p.codec]}, ${group(p.bytes)} bytes${p.psnr_rgb === null ? "" : `, ${number(p.psnr_rgb, 2)} dB`}`;
  };
  const draw = () => {
    const item = items[state.item];
    const [left, right] = [find(state.left), find(state.right)];
    const choices = panels().map((p) => [p.codec, data.titles[p.codec] || p.codec]);
    options("left", choices, left.codec, (v) => { state.left = v; draw(); });
    options("right", choices, right.codec, (v) => { state.right = v; draw(); });
    for (const [side, p] of [["left", left], ["right", right]]) {
      const img = get(`img-${side}`);
      if (img.src !== p.src) img.src = p.src;
      img.alt = `${item.image}, ${facts(p)}`;
      get(`tag-${side}`).textContent = facts(p);
    }
    get("map-img").src = data.images.find((im) => im.name === item.image).thumb;
    const ours = panels()[1];
    get("sizes").replaceChildren(
      ...panels().slice(1).map((p) => {
        const apart = p === ours ? "" : ` (${signed(100 * (p.bytes / ours.bytes - 1), 1)} %)`;
        const quality = [
          p.psnr_rgb === null ? null : `${number(p.psnr_rgb, 2)} dB`,
          p.ms_ssim === null ? null : `MS-SSIM ${number(p.ms_ssim, 4)}`,
        ].filter(Boolean).join(", ");
        return html("tr", {},
          html("th", { scope: "row", textContent: data.titles[p.codec] }),
          html("td", {}, `${group(p.bytes)} bytes${apart}`, html("small", { textContent: `${number(p.bpp, 3)} bpp, ${level(p.setting)}${p.between ? ", between those of the curve" : ""}` })),
          html("td", {}, quality, html("small", { textContent: p.as_is ? "file itself" : "stored again" })));
      }),
    );
    [...get("thumbs").children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === state.item)));
    place();
  };
  const move = (share) => {
    state.share = Math.min(100, Math.max(0, share));
    get("slider").value = state.share;
    place();
  };
  const open = (name) => {
    const i = items.findIndex((it) => it.image === name);
    if (i < 0) return false;
    state.item = i;
    draw();
    return true;
  };

  get("thumbs").append(
    ...items.map((item, i) => {
      const image = data.images.find((im) => im.name === item.image);
      const button = html("button", { type: "button", title: item.image }, html("img", { src: image.thumb, alt: item.image }));
      button.addEventListener("click", () => {
        state.item = i;
        draw();
      });
      return button;
    }),
  );
  const first = items[0].panels;
  state.left = (first.find((p) => p.codec === data.anchor) || first[2] || first[0]).codec;
  state.right = first[1].codec;
  segment("zoom", [["fit", "Fit"], ["1", "1:1"], ["2", "2:1"], ["4", "4:1"]], "1", (v) => {
    state.zoom = v;
    place();
  });
  get("slider").addEventListener("input", (e) => move(Number(e.target.value)));
  const drag = (event) => {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    const r = stage.getBoundingClientRect();
    move((100 * (event.clientX - r.left)) / r.width);
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", drag);

  const toggle = (id, css) => {
    const button = get(id);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      stage.classList.toggle(css, on);
    });
  };
  toggle("flip", "flipped");
  toggle("difference", "difference");

  const map = get("map");
  const pan = (x, y) => {
    [state.x, state.y] = [x, y].map((v) => Math.min(1, Math.max(0, v)));
    place();
  };
  const point = (event) => {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    const [r, f] = [map.getBoundingClientRect(), get("map-box").getBoundingClientRect()];
    const along = (at, start, whole, part) => (whole - part > 1 ? (at - start - part / 2) / (whole - part) : 0.5);
    pan(along(event.clientX, r.left, r.width, f.width), along(event.clientY, r.top, r.height, f.height));
  };
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    point(event);
  });
  map.addEventListener("pointermove", point);
  map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (!step) return;
    event.preventDefault();
    pan(state.x + step[0], state.y + step[1]);
  });
  return { draw, place, open };
};
