// The gallery: cards made only when they are shown.
const BATCH = 48;
const OUTCOMES = { tp: "found", fn: "missed", fp: "false alarm", tn: "cleared" };
const gallery = { chosen: [], limit: BATCH, cards: new Map() };

/** An image, its map over it ("overlay") or alone ("map"), and outlines; filled in when the browser has decoded them. */
function picture(image, view, close = false) {
  const layers = element("span", { class: "layers" });
  image.extent.forEach((share, axis) => layers.style.setProperty(axis ? "--h" : "--w", share));
  const pixels = { src: report.media + image.pixels, alt: "", decoding: "async" };
  if (view !== "map") layers.append(element("img", pixels));
  if (view !== "image" && image.map) drawMap(layers, image, view === "map", close);
  if (view !== "image" && image.outline) layers.append(lines("outline", image.outline));
  return element("span", { class: `picture ${view}` }, layers);
}

/** The map's colours; with its peak, and the contour at the threshold, where it is looked at closely. */
function drawMap(layers, image, alone, close) {
  const canvas = element("canvas", { width: maps.side, height: maps.side, "aria-hidden": "true" });
  layers.append(canvas);
  if (close) layers.append(peakMark(image));
  const level = close ? levelOf(state.threshold) : null;
  valuesOf(image).then((values) => {
    colour(canvas, values, alone);
    if (level !== null) canvas.after(lines("contour", contourPath(values, level)));
  });
}

function cardOf(image) {
  let card = gallery.cards.get(image);
  if (!card) {
    const caption = element("span", { class: "caption" },
      element("span", { class: "badge" }), element("span", { class: "score number" }, scale.show(image.score)),
      element("span", { class: "name" }, image.name.split("/").at(-1)), element("span", { class: "class" }, image.kind));
    const button = element("button", { type: "button" }, picture(image, "overlay"), caption);
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

function followOverlay() {
  const root = document.documentElement;
  for (const slider of document.querySelectorAll(".opacity")) {
    slider.addEventListener("input", () => {
      root.style.setProperty("--map-opacity", slider.value / 100);
      for (const other of document.querySelectorAll(".opacity")) other.value = slider.value;
    });
  }
  for (const name of ["outlines", "contours", "peaks"]) {
    for (const box of document.querySelectorAll(`.${name}`)) {
      box.addEventListener("change", () => {
        root.classList.toggle(`no-${name}`, !box.checked);
        for (const other of document.querySelectorAll(`.${name}`)) other.checked = box.checked;
      });
    }
  }
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
  followOverlay();
  drawGallery();
}
