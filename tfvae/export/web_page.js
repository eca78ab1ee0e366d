// The page: controls of z and of the condition, draws from the prior, and a map.
if (typeof document !== "undefined") (() => {
  const at = (id) => document.getElementById(id);
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const model = JSON.parse(at("model").textContent);
  const bytes = Uint8Array.from(atob(at("bytes").textContent), (c) => c.charCodeAt(0));
  const { decode, sample, check } = Engine.open(model, bytes);
  const { shown, latent } = model;
  const PAGE = 12, MAP = 15, ROWS = 200;

  const size = latent.shape.reduce((a, b) => a * b, 1);
  const state = { z: new Float64Array(size), conditions: [], seed: model.seed, page: 0, draws: [] };
  const conditions = () => state.conditions;
  const meanOf = (z) => decode(z, conditions());
  const round = (value) => !Number.isFinite(value) ? String(value)
    : Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2)
      : value.toFixed(Math.abs(value) < 10 ? 2 : 1);

  // -- what is shown ---------------------------------------------------------------

  function pixels(mean, target, left = 0, top = 0) {
    const [h, w, c] = shown.shape, { low, high } = shown;
    const image = new ImageData(w, h);
    for (let n = 0; n < h * w; n++) {
      for (let k = 0; k < 3; k++) {
        const value = (mean[n * c + (c === 3 ? k : 0)] - low) / (high - low);
        image.data[4 * n + k] = Math.round(255 * Math.min(Math.max(value, 0), 1));
      }
      image.data[4 * n + 3] = 255;
    }
    target.putImageData(image, left, top);
  }

  // The least and the largest of each value that was seen, for the length of bars.
  const reach = { low: [], high: [] };
  function see(mean) {
    mean.forEach((value, n) => {
      if (!Number.isFinite(value)) return;
      reach.low[n] = Math.min(value, reach.low[n] ?? 0);
      reach.high[n] = Math.max(value, reach.high[n] ?? 0);
    });
  }
  const share = (value, n) => {
    const width = reach.high[n] - reach.low[n];
    return width > 0 ? Math.min(Math.max((value - reach.low[n]) / width, 0), 1) : 0;
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

  function bars(mean, canvas) {
    const count = Math.min(mean.length, ROWS), width = 72, height = 48;
    Object.assign(canvas, { width, height });
    const drawing = canvas.getContext("2d");
    drawing.fillStyle = colour("--bar");
    for (let n = 0; n < count; n++) {
      const tall = Math.max(1, share(mean[n], n) * height);
      drawing.fillRect(n * width / count, height - tall, Math.max(1, width / count - 1), tall);
    }
  }

  function small(mean, canvas) {
    if (shown.kind !== "image") return bars(mean, canvas);
    const [h, w] = shown.shape;
    Object.assign(canvas, { width: w, height: h });
    pixels(mean, canvas.getContext("2d"));
  }

  function worded(value, labels) {
    const label = labels[Math.round(value)];
    if (label === undefined) return round(value);
    return Number.isInteger(value) ? label : `${round(value)}, nearest ${label}`;
  }

  let cells = null;
  function showValues(mean) {
    if (!cells) {
      cells = shown.names.slice(0, ROWS).map(() => [make("td"), make("progress", { max: 1 })]);
      const rows = cells.map(([text, bar], n) => {
        bar.setAttribute("aria-label", shown.names[n]);
        const name = make("th", { scope: "row", textContent: shown.names[n] });
        return make("tr", {}, name, text, make("td", { className: "bar" }, bar));
      });
      const more = shown.names.length - rows.length;
      if (more > 0) rows.push(make("tr", {}, make("th", { textContent: `and ${more} more` })));
      at("mean").replaceChildren(make("div", { className: "scroll", tabIndex: 0 },
        make("table", {}, make("tbody", {}, ...rows))));
    }
    cells.forEach(([text, bar], n) => {
      text.textContent = worded(mean[n], shown.labels[n]);
      bar.value = share(mean[n], n);
    });
  }

  let picture = null;
  function show() {
    const begun = performance.now();
    const mean = meanOf(state.z);
    const took = performance.now() - begun;
    at("speed").textContent = `The last decoding took ${took.toFixed(1)} ms.`;
    if (shown.kind !== "image") {
      see(mean);
      return showValues(mean);
    }
    if (!picture) {
      picture = make("canvas");
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", "The mean image of the code that the controls show");
      at("mean").replaceChildren(picture);
    }
    small(mean, picture);
  }

  let waiting = false;
  function later() { // once a frame, however fast a slider moves
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; show(); });
  }

  // -- the controls of z -----------------------------------------------------------

  const refreshers = []; // set the controls on the page to the state
  const refresh = () => { refreshers.forEach((set) => set()); mark(); };

  function slider({ index, ends: [low, , high] }) {
    const id = `z${index + 1}`, value = make("output");
    const input = make("input", { type: "range", id, min: low, max: high, step: "any" });
    input.step = (high - low) / 200 || "any";
    value.htmlFor = id;
    const set = () => {
      input.value = state.z[index];
      value.textContent = round(state.z[index]);
      input.setAttribute("aria-valuetext", value.textContent);
    };
    input.addEventListener("input", () => {
      state.z[index] = Number(input.value);
      value.textContent = round(state.z[index]);
      input.setAttribute("aria-valuetext", value.textContent);
      mark();
      later();
    });
    refreshers.push(set);
    return make("div", { className: "variable" }, make("label", { htmlFor: id, textContent: id }), input, value);
  }

  function toggle({ index }) {
    const button = make("button", { type: "button" });
    refreshers.push(() => {
      const on = state.z[index] > 0.5;
      button.textContent = `z${index + 1}: ${on ? 1 : 0}`;
      button.setAttribute("aria-pressed", on);
    });
    button.addEventListener("click", () => {
      state.z[index] = state.z[index] > 0.5 ? 0 : 1;
      refresh();
      later();
    });
    return button;
  }

  function choice(row) {
    const classes = latent.shape[1], id = `z${row + 1}`;
    const select = make("select", { id });
    for (let k = 0; k < classes; k++) select.append(make("option", { value: k, textContent: `class ${k + 1}` }));
    refreshers.push(() => {
      const own = state.z.subarray(row * classes, (row + 1) * classes);
      select.value = own.indexOf(Math.max(...own));
    });
    select.addEventListener("change", () => {
      state.z.fill(0, row * classes, (row + 1) * classes);
      state.z[row * classes + Number(select.value)] = 1;
      later();
    });
    return make("div", { className: "variable" }, make("label", { htmlFor: id, textContent: id }), select);
  }

  const movable = latent.kind === "classes"
    ? Array.from({ length: latent.shape[0] }, (_, row) => () => choice(row))
    : latent.variables.map((each) => () => each.bit ? toggle(each) : slider(each));

  function page() {
    const bits = latent.variables.length && latent.variables[0].bit;
    const span = bits ? 4 * PAGE : PAGE, pages = Math.ceil(movable.length / span);
    state.page = (state.page + pages) % pages || 0;
    const first = state.page * span, some = movable.slice(first, first + span);
    refreshers.length = 0;
    at("variables").className = bits ? "bits" : "";
    at("variables").replaceChildren(...some.map((build) => build()));
    at("pager").hidden = pages < 2;
    at("where").textContent = `${first + 1} to ${first + some.length} of ${movable.length}`;
    refresh();
  }

  const allBits = latent.variables.length > 0 && latent.variables.every((each) => each.bit);
  const hints = {
    ordered: "From the 0.5 % to the 99.5 % quantile of the prior; those first that move the mean most.",
    bits: "Those first that move the mean most.",
    classes: "One class for each variable.",
    none: "No single variable of this model moves alone; choose one of the draws.",
  };

  function middle() {
    if (latent.kind === "classes") {
      state.z.fill(0);
      for (let row = 0; row < latent.shape[0]; row++) state.z[row * latent.shape[1]] = 1;
    } else latent.variables.forEach(({ index, ends }) => { state.z[index] = ends[1]; });
    refresh();
    later();
  }

  // -- the condition ---------------------------------------------------------------

  function classButtons({ name, names }, number) {
    state.conditions[number] = [0];
    const buttons = names.map((text, k) => {
      const button = make("button", { type: "button", textContent: text });
      button.setAttribute("aria-pressed", k === 0);
      button.addEventListener("click", () => {
        state.conditions[number] = [k];
        buttons.forEach((other, j) => other.setAttribute("aria-pressed", j === k));
        changed();
      });
      return button;
    });
    return make("fieldset", {}, make("legend", { textContent: name }),
      make("div", { className: "choices" }, ...buttons));
  }

  function numberFields({ name, start }, number) {
    state.conditions[number] = [...start];
    const fields = start.map((value, n) => {
      const input = make("input", { type: "number", step: "any", value });
      input.setAttribute("aria-label", start.length > 1 ? `${name} ${n + 1}` : name);
      input.addEventListener("change", () => {
        if (input.value === "" || !Number.isFinite(Number(input.value))) input.value = state.conditions[number][n];
        state.conditions[number][n] = Number(input.value);
        changed();
      });
      return input;
    });
    return make("fieldset", {}, make("legend", { textContent: name }),
      make("div", { className: "choices" }, ...fields));
  }

  function changed() { // z stays, and draws of the same seed are those given c
    draw();
    later();
  }

  // -- draws -----------------------------------------------------------------------

  function draw(choose = false) {
    state.draws = sample(state.seed, conditions());
    const means = state.draws.map(meanOf);
    means.forEach(see);
    at("grid").replaceChildren(...means.map((mean, n) => {
      const canvas = make("canvas");
      small(mean, canvas);
      const button = make("button", { type: "button" }, canvas);
      button.setAttribute("aria-label", `Draw ${n + 1}`);
      button.addEventListener("click", () => take(n));
      return button;
    }));
    if (choose) take(0);
    drawMap();
  }

  function take(n) {
    state.z.set(state.draws[n]);
    refresh();
    later();
  }

  function reseed(value) {
    const seed = Math.min(Math.max(Math.trunc(Number(value)) || 0, 0), 2 ** 31 - 1);
    at("seed").value = state.seed = seed;
    draw();
  }

  // -- the map ---------------------------------------------------------------------

  const plane = latent.kind === "ordered" && size === 2 && shown.kind === "image"
    && !latent.variables[0].bit;
  const axes = plane ? [0, 1].map((i) => latent.variables.find(({ index }) => index === i).ends) : [];
  const placeOf = (i, axis) => axes[axis][0] + (axes[axis][2] - axes[axis][0]) * i / (MAP - 1);
  let under = null, turn = 0;

  function drawMap() {
    if (!plane) return;
    const [h, w] = shown.shape, map = at("map"), mine = ++turn;
    under = make("canvas", { width: w * MAP, height: h * MAP });
    Object.assign(map, { width: w * MAP, height: h * MAP });
    let row = 0;
    const line = () => { // a row at a time, so that the page goes on answering
      if (mine !== turn) return;
      for (let x = 0; x < MAP; x++)
        pixels(meanOf([placeOf(x, 0), placeOf(MAP - 1 - row, 1)]), under.getContext("2d"), x * w, row * h);
      mark();
      if (++row < MAP) setTimeout(line, 0);
    };
    line();
  }

  function mark() {
    if (!plane || !under) return;
    const map = at("map"), drawing = map.getContext("2d");
    drawing.drawImage(under, 0, 0);
    const [x, y] = [0, 1].map((axis) => (state.z[axis] - axes[axis][0]) / (axes[axis][2] - axes[axis][0]));
    const left = (x * (MAP - 1) + 0.5) * map.width / MAP, top = ((1 - y) * (MAP - 1) + 0.5) * map.height / MAP;
    const unit = map.width / 60;
    for (const [style, width] of [["#000", 0.5], ["#ff9f1c", 0.28]]) {
      Object.assign(drawing, { strokeStyle: style, lineWidth: width * unit });
      drawing.beginPath();
      drawing.arc(left, top, unit, 0, 2 * Math.PI);
      drawing.stroke();
    }
    map.setAttribute("aria-label", `z1 ${round(state.z[0])}, z2 ${round(state.z[1])}`);
  }

  function moveTo(z1, z2) {
    [z1, z2].forEach((value, axis) => {
      state.z[axis] = Math.min(Math.max(value, axes[axis][0]), axes[axis][2]);
    });
    refresh();
    later();
  }

  function listenToMap() {
    const map = at("map");
    const point = (event) => {
      const box = map.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
      moveTo(placeOf(x * MAP - 0.5, 0), placeOf(MAP - 0.5 - y * MAP, 1));
    };
    map.addEventListener("pointerdown", point);
    map.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    map.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      moveTo(...move.map((n, axis) => state.z[axis] + n * (placeOf(1, axis) - placeOf(0, axis)) / 2));
    });
  }

  // -- the beginning ---------------------------------------------------------------

  function say(text) {
    Object.assign(at("notice"), { textContent: text, hidden: false });
  }

  function checkSelf() {
    const most = check();
    const verdict = most <= 1e-5 ? "This browser computes as TensorFlow did" : "This browser computes otherwise than TensorFlow did";
    say(`${verdict}: the largest difference is ${most.toExponential(1)}.`);
    document.documentElement.dataset.check = most;
  }

  at("title").textContent = model.title;
  at("seed").value = state.seed;
  at("hint").textContent = hints[allBits ? "bits" : latent.kind];
  at("middle").hidden = latent.kind === "none";
  at("plane").hidden = !plane;
  at("facts").append(...Object.entries(model.facts).flatMap(([name, text]) => [
    make("dt", { textContent: name }), make("dd", { textContent: text })]));
  at("conditions").append(...model.conditions.map((each, n) =>
    each.kind === "class" ? classButtons(each, n) : numberFields(each, n)));
  at("middle").addEventListener("click", middle);
  at("draw").addEventListener("click", () => reseed(state.seed === 2 ** 31 - 1 ? 0 : state.seed + 1));
  at("seed").addEventListener("change", () => reseed(at("seed").value));
  at("previous").addEventListener("click", () => { state.page--; page(); });
  at("next").addEventListener("click", () => { state.page++; page(); });
  if (plane) listenToMap();
  page();
  draw(true);
  show();
  const checkIfAsked = () => { if (location.hash === "#check") checkSelf(); };
  addEventListener("hashchange", checkIfAsked);
  checkIfAsked();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
})();
