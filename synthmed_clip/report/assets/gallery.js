// The gallery: cards made only when they are shown, and a dialog that goes through them.
const BATCH = 48;
const OUTCOMES = { tp: "found", fn: "missed", fp: "false alarm", tn: "cleared" };
const gallery = { chosen: [], limit: BATCH, cards: new Map(), open: 0 };

/** The image with its map, if there is one, and outline, filled in when the browser has decoded them. */
function picture(image, annotated = true) {
  const pixels = { src: report.media + image.pixels, alt: "", decoding: "async", width: report.side, height: report.side };
  const frame = element("span", { class: "picture" }, element("img", pixels));
  if (!annotated) return frame;
  if (report.map_side) {
    const canvas = element("canvas", { width: report.map_side, height: report.map_side, "aria-hidden": "true" });
    const map = new Image();
    map.onload = () => colour(canvas, map);
    map.src = report.media + image.map;
    frame.append(canvas);
  }
  if (image.outline) {
    const svg = shape("svg", { viewBox: `0 0 ${report.side} ${report.side}`, "aria-hidden": "true", class: "outline" });
    for (const name of ["halo", "line"]) svg.append(shape("path", { d: image.outline, class: name }));
    frame.append(svg);
  }
  return frame;
}

/** Grey levels become colours, the more opaque the higher: as `predict` draws its overlays. */
function colour(canvas, map) {
  const context = canvas.getContext("2d", { willReadFrequently: true }); // small, and read at once: no GPU
  context.drawImage(map, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const level = pixels.data[i];
    for (let channel = 0; channel < 3; channel++) pixels.data[i + channel] = report.colours[3 * level + channel];
    pixels.data[i + 3] = level;
  }
  context.putImageData(pixels, 0, 0);
}

function cardOf(image) {
  let card = gallery.cards.get(image);
  if (!card) {
    const caption = element("span", { class: "caption" },
      element("span", { class: "badge" }), element("span", { class: "score" }, scale.show(image.score)),
      element("span", { class: "name" }, image.name.split("/").at(-1)), element("span", { class: "class" }, image.kind));
    const button = element("button", { type: "button" }, picture(image), caption);
    button.addEventListener("click", () => openViewer(image));
    card = element("li", {}, button);
    gallery.cards.set(image, card);
  }
  const outcome = outcomeOf(image);
  const badge = card.querySelector(".badge");
  badge.textContent = OUTCOMES[outcome];
  badge.className = `badge ${outcome}`;
  card.dataset.outcome = outcome;
  card.firstChild.setAttribute(
    "aria-label", `${image.name}, ${image.kind}, score ${scale.show(image.score)}, ${OUTCOMES[outcome]}: open larger`,
  );
  return card;
}

const byName = new Intl.Collator("en", { numeric: true }).compare;
const ORDERS = {
  up: (a, b) => a.score - b.score,
  down: (a, b) => b.score - a.score,
  name: (a, b) => byName(a.name, b.name),
  // Misses, then false alarms, farthest on the wrong side first; then the right ones, nearest to the threshold first.
  worst: (a, b) => {
    const [one, other] = [outcomeOf(a), outcomeOf(b)];
    const rank = { fn: 0, fp: 1, tp: 2, tn: 2 };
    if (rank[one] !== rank[other]) return rank[one] - rank[other];
    const distance = (image) => Math.abs(scale.place(image.score) - scale.place(state.threshold));
    return rank[one] === 2 ? distance(a) - distance(b) : distance(b) - distance(a);
  },
};

function drawGallery() {
  const outcome = byId("outcome").value, kind = byId("kind").value, text = byId("search").value.trim().toLowerCase();
  gallery.chosen = images
    .filter((image) => (!outcome || outcomeOf(image) === outcome) && (!kind || image.kind === kind))
    .filter((image) => image.name.toLowerCase().includes(text))
    .sort(ORDERS[byId("order").value]);
  gallery.limit = BATCH;
  showCards();
}

function showCards() {
  const { chosen, limit } = gallery;
  byId("cards").replaceChildren(...chosen.slice(0, limit).map(cardOf));
  const shown = Math.min(limit, chosen.length);
  byId("shown").textContent = chosen.length
    ? `${shown < chosen.length ? `${shown} of ` : ""}${plural(chosen.length, "image")}`
    : "No image is like that.";
  byId("more").hidden = shown === chosen.length;
  byId("more").textContent = `Show ${Math.min(BATCH, chosen.length - shown)} more`;
}

function openViewer(image) {
  gallery.open = gallery.chosen.indexOf(image);
  showViewer();
  byId("viewer").showModal();
}

function showViewer() {
  const image = gallery.chosen[gallery.open], outcome = outcomeOf(image);
  byId("viewer-title").textContent = image.name;
  byId("viewer-facts").replaceChildren(
    element("span", { class: `badge ${outcome}` }, OUTCOMES[outcome]),
    ` ${image.kind}, score ${scale.show(image.score)}, threshold ${scale.show(state.threshold)}`,
    ` (${gallery.open + 1} of ${gallery.chosen.length})`,
  );
  const annotated = report.map_side || image.outline ? [picture(image)] : [];
  byId("viewer-panes").replaceChildren(picture(image, false), ...annotated);
  byId("previous").disabled = gallery.open === 0;
  byId("next").disabled = gallery.open === gallery.chosen.length - 1;
}

function step(by) {
  const next = gallery.open + by;
  if (next < 0 || next >= gallery.chosen.length) return;
  gallery.open = next;
  showViewer();
}

/** Where the dialog ended: its card, made visible first if it is farther down. */
function leaveViewer() {
  const image = gallery.chosen[gallery.open];
  if (gallery.open >= gallery.limit) {
    gallery.limit = BATCH * Math.ceil((gallery.open + 1) / BATCH);
    showCards();
  }
  gallery.cards.get(image).firstChild.focus();
}

function followOverlay() {
  const root = document.documentElement;
  for (const slider of document.querySelectorAll(".opacity")) {
    slider.addEventListener("input", () => {
      root.style.setProperty("--map-opacity", slider.value / 100);
      for (const other of document.querySelectorAll(".opacity")) other.value = slider.value;
    });
  }
  for (const box of document.querySelectorAll(".outlines")) {
    box.addEventListener("change", () => {
      root.classList.toggle("no-outlines", !box.checked);
      for (const other of document.querySelectorAll(".outlines")) other.checked = box.checked;
    });
  }
}

/** What the colours of the maps span; nothing of maps where there are none. */
function drawLegend() {
  document.documentElement.classList.toggle("no-maps", !report.map_side);
  const [low, high] = report.map_range;
  byId("map-low").textContent = `map ${low}`;
  byId("map-high").textContent = high;
  const ramp = byId("ramp").getContext("2d");
  const pixels = ramp.createImageData(256, 1);
  for (let i = 0; i < 256; i++) pixels.data.set([...report.colours.slice(3 * i, 3 * i + 3), 255], 4 * i);
  ramp.putImageData(pixels, 0, 0);
}

function startGallery() {
  for (const { kind } of report.classes) byId("kind").append(element("option", { value: kind }, kind));
  for (const id of ["order", "outcome", "kind"]) byId(id).addEventListener("change", drawGallery);
  byId("search").addEventListener("input", drawGallery);
  byId("more").addEventListener("click", () => {
    const first = gallery.limit;
    gallery.limit += BATCH;
    showCards();
    byId("cards").children[first].firstChild.focus();
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("close", leaveViewer);
  document.addEventListener("keydown", (event) => { // not on the dialog: a button that gets disabled loses the focus
    if (!byId("viewer").open || event.target.matches("input")) return; // in an input the arrows move its slider
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  followOverlay();
  drawLegend();
  drawGallery();
}
