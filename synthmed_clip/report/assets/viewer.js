// The dialog that goes through the gallery's images: panes, zoom, and what is drawn on them.
const MOST_ZOOM = 16;
const zoom = { factor: 1, x: 0.5, y: 0.5 }; // of all panes; the place in their middle, in parts of a side
const viewer = { open: null }; // the image shown

function openViewer(image) {
  viewer.open = image;
  setZoom(1);
  showViewer();
  byId("viewer").showModal();
}

function showViewer() {
  const image = viewer.open, outcome = outcomeOf(image), at = gallery.chosen.indexOf(image);
  byId("viewer-title").textContent = image.name;
  const number = (content) => element("span", { class: "number" }, content);
  const p = image.p === null ? [] : [", ", number(`p = ${shareText(image.p)}`), report.heuristic ? " (heuristic)" : ""];
  const [x, y] = image.map?.peak ?? [];
  const peak = image.map ? [", peak ", number(unitText(inUnit(image.map.high))), " at ", number(`x ${x}, y ${y}`)] : [];
  byId("viewer-facts").replaceChildren(
    element("span", { class: `badge ${outcome}` }, OUTCOMES[outcome]),
    ` ${image.kind}, score `, number(scale.show(image.score)), ", threshold ", number(scale.show(state.threshold)), ...p, ...peak, "; ",
    number(`${image.size.join(" × ")} pixels`), ` (${at + 1} of ${gallery.chosen.length})`,
  );
  const panes = [["image", "Image"], ["overlay", image.map ? "Image with map" : "Image with ground truth"], ["map", "Map alone"]]
    .filter(([name]) => name === "image" || (name === "overlay" ? image.map || image.outline : image.map))
    .map(([name, title]) => element("figure", { class: name }, picture(image, name, true), element("figcaption", {}, title)));
  byId("viewer-panes").replaceChildren(...panes);
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === gallery.chosen.length - 1;
}

function step(by) {
  const next = gallery.chosen[gallery.chosen.indexOf(viewer.open) + by];
  if (!next) return;
  viewer.open = next;
  setZoom(1);
  showViewer();
}

/** Where the dialog ended: its card, made visible first if it is farther down. */
function leaveViewer() {
  const at = gallery.chosen.indexOf(viewer.open);
  if (at >= gallery.limit) {
    gallery.limit = BATCH * Math.ceil((at + 1) / BATCH);
    showCards();
  }
  gallery.cards.get(viewer.open)?.firstChild.focus();
}

/** Zoom about a place of the pane, in parts of its side, which stays where it is. */
function setZoom(factor, [x, y] = [0.5, 0.5]) {
  const bounded = Math.min(MOST_ZOOM, Math.max(1, factor));
  const shift = 1 / zoom.factor - 1 / bounded;
  zoom.factor = bounded;
  moveTo(zoom.x + (x - 0.5) * shift, zoom.y + (y - 0.5) * shift);
}

/** Bring a place to the middle, as far as the image's edges allow. */
function moveTo(x, y) {
  const half = 0.5 / zoom.factor;
  [zoom.x, zoom.y] = [x, y].map((at) => Math.min(1 - half, Math.max(half, at)));
  const { style } = byId("viewer-panes");
  for (const [name, value] of [["zoom", zoom.factor], ["x", zoom.x], ["y", zoom.y]]) style.setProperty(`--${name}`, value);
  byId("viewer-panes").classList.toggle("zoomed", zoom.factor > 1);
  byId("zoom").textContent = `${Math.round(100 * zoom.factor)} %`;
  byId("zoom-out").disabled = byId("zoom-reset").disabled = zoom.factor === 1;
  byId("zoom-in").disabled = zoom.factor === MOST_ZOOM;
}

/** Wheel, drag, and two fingers. */
function followZoom() {
  const host = byId("viewer-panes"), fingers = new Map();
  let pane = null;
  const within = ({ clientX, clientY }) => {
    const box = pane.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  };
  host.addEventListener("wheel", (event) => {
    pane = event.target.closest(".picture");
    if (!pane) return;
    event.preventDefault();
    setZoom(zoom.factor * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), within(event));
  }, { passive: false });
  host.addEventListener("pointerdown", (event) => {
    pane = event.target.closest(".picture");
    if (!pane) return;
    fingers.set(event.pointerId, within(event));
    host.setPointerCapture(event.pointerId);
  });
  host.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, within(event));
    const after = [...fingers.values()];
    const [from, to] = [before, after].map((places) => [0, 1].map((axis) => places.reduce((sum, at) => sum + at[axis], 0) / places.length));
    moveTo(...[0, 1].map((axis) => (axis ? zoom.y : zoom.x) - (to[axis] - from[axis]) / zoom.factor));
    if (after.length !== 2) return;
    const [wide, wider] = [before, after].map(([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]));
    if (wide > 0) setZoom((zoom.factor * wider) / wide, to);
  });
  for (const name of ["pointerup", "pointercancel"]) host.addEventListener(name, (event) => fingers.delete(event.pointerId));
  byId("zoom-in").addEventListener("click", () => setZoom(zoom.factor * 1.5));
  byId("zoom-out").addEventListener("click", () => setZoom(zoom.factor / 1.5));
  byId("zoom-reset").addEventListener("click", () => setZoom(1));
}

function startViewer() {
  const narrow = matchMedia("(max-width: 40rem)").matches;
  byId("view").value = narrow && maps ? "overlay" : "all";
  const show = () => { byId("viewer-panes").dataset.view = byId("view").value; };
  byId("view").addEventListener("change", show);
  show();
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("close", leaveViewer);
  const keys = {
    ArrowRight: () => step(1), ArrowLeft: () => step(-1), "0": () => setZoom(1),
    "+": () => setZoom(zoom.factor * 1.5), "-": () => setZoom(zoom.factor / 1.5),
  };
  document.addEventListener("keydown", (event) => { // not on the dialog: a button that gets disabled loses the focus
    if (!byId("viewer").open || event.target.matches("input, select")) return; // there the keys are the control's
    if (!event.ctrlKey && !event.metaKey) keys[event.key]?.();
  });
  redraws.push(() => byId("viewer").open && showViewer());
  followZoom();
}
