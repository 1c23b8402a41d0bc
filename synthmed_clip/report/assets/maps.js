// Maps: their values, their colours, the contour at the threshold, the peak, and the legend.
const maps = report.maps;

/** The value of a map that corresponds to a threshold on scores (as `MapScale.level_of`), or null. */
function levelOf(threshold) {
  if (!maps?.matching) return null;
  const [scores, peaks, slope] = maps.matching;
  const nearest = Math.min(Math.max(threshold, scores[0]), scores.at(-1));
  const at = scores.findLastIndex((score) => score <= nearest);
  const between = at < scores.length - 1 ? (peaks[at + 1] - peaks[at]) / (scores[at + 1] - scores[at]) : 0;
  return peaks[at] + (nearest - scores[at]) * between + (threshold - nearest) * slope;
}

/** A map's value in the unit of its legend. */
function inUnit(value) {
  const [low, high] = maps.range, [first, last] = maps.shown;
  return first + ((value - low) / (high - low)) * (last - first);
}

/** A value in that unit, in words. */
function unitText(shown) {
  return maps.unit === "probability" ? shareText(shown) : shown.toFixed(2);
}

/** Decode a map once; resolves to its values, row by row. */
function valuesOf({ map }) {
  map.values ??= new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => {
      const canvas = element("canvas", { width: maps.side, height: maps.side });
      const context = canvas.getContext("2d", { willReadFrequently: true }); // small, and read at once: no GPU
      context.drawImage(picture, 0, 0);
      const levels = context.getImageData(0, 0, maps.side, maps.side).data;
      resolve(Float64Array.from({ length: maps.side ** 2 }, (_, i) => {
        const share = levels[4 * i] / 255;
        return map.low * (1 - share) + map.high * share;
      }));
    };
    picture.onerror = reject;
    picture.src = report.media + map.pixels;
  });
  return map.values;
}

/** Draw values as colours, the more opaque the higher, as `predict` draws its overlays; or all opaque. */
function colour(canvas, values, opaque) {
  const [low, high] = maps.range, context = canvas.getContext("2d");
  const pixels = context.createImageData(maps.side, maps.side);
  values.forEach((value, i) => {
    const level = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
    pixels.data.set(maps.colours.slice(3 * level, 3 * level + 3), 4 * i);
    pixels.data[4 * i + 3] = opaque ? 255 : Math.round(255 * maps.opacity[level]);
  });
  context.putImageData(pixels, 0, 0);
}

// Which edges of a square a contour crosses, by the corners above the level: 1 upper left, 2 upper right, 4 lower
// right, 8 lower left. Edges: 0 top, 1 right, 2 bottom, 3 left.
const CROSSINGS = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

/** Around what lies above a level, as an SVG path in the unit of the outlines; it closes along the image's border. */
function contourPath(values, level) {
  const { side } = maps, last = side + 1;
  const inside = (i) => i > 0 && i < last;
  const value = (x, y) => (inside(x) && inside(y) ? values[(y - 1) * side + x - 1] : -Infinity);
  const place = (i) => (inside(i) ? (i - 0.5) / side : Math.min(i, 1)) * report.side;
  const cross = (x, y, edge) => {
    const [one, other] = [[[x, y], [x + 1, y]], [[x + 1, y], [x + 1, y + 1]], [[x, y + 1], [x + 1, y + 1]], [[x, y], [x, y + 1]]][edge];
    const [a, b] = [value(...one), value(...other)];
    const share = a === -Infinity ? 0 : b === -Infinity ? 1 : (level - a) / (b - a);
    return [0, 1].map((axis) => (place(one[axis]) * (1 - share) + place(other[axis]) * share).toFixed(2)).join(" ");
  };
  const pieces = [];
  for (let y = 0; y < last; y++) {
    for (let x = 0; x < last; x++) {
      const corners = [value(x, y), value(x + 1, y), value(x + 1, y + 1), value(x, y + 1)];
      const above = corners.reduce((sum, corner, i) => sum + (corner > level ? 1 << i : 0), 0);
      for (const [from, to] of CROSSINGS[above]) pieces.push(`M${cross(x, y, from)}L${cross(x, y, to)}`);
    }
  }
  return pieces.join("");
}

/** Lines over a picture: dark around light, so that they are seen on both. */
function lines(name, d) {
  const svg = shape("svg", {
    viewBox: `0 0 ${report.side} ${report.side}`, preserveAspectRatio: "none", "aria-hidden": "true", class: name,
  });
  for (const part of ["halo", "line"]) svg.append(shape("path", { d, class: part }));
  return svg;
}

/** A cross with an open middle at a map's peak. */
function peakMark({ map, size }) {
  const svg = shape("svg", { viewBox: "-12 -12 24 24", "aria-hidden": "true", class: "peak" });
  for (const part of ["halo", "line"]) svg.append(shape("path", { d: "M-11 0H-4M4 0H11M0-11V-4M0 4V11", class: part }));
  map.peak.forEach((at, axis) => { svg.style[axis ? "top" : "left"] = `${(100 * (at + 0.5)) / size[axis]}%`; });
  return svg;
}

/** The colours with their values, their unit, and where the contour at the threshold lies. */
function legend(width, threshold) {
  const height = 58, left = 16, right = width - 16, top = 16, bottom = 26;
  const [low, high] = maps.shown, level = levelOf(threshold);
  const x = (shown) => left + Math.min(1, Math.max(0, (shown - low) / (high - low))) * (right - left);
  const svg = canvasOf(width, height, `Colours of the maps, from ${low} to ${high} ${maps.unit}`);
  const stops = Array.from({ length: 33 }, (_, k) => {
    const at = Math.round((255 * k) / 32);
    return shape("stop", { offset: k / 32, "stop-color": `rgb(${maps.colours.slice(3 * at, 3 * at + 3)})` });
  });
  const name = `ramp-${legend.count = (legend.count ?? 0) + 1}`;
  svg.append(
    shape("linearGradient", { id: name }, ...stops),
    shape("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: `url(#${name})` }),
    text(width / 2, height - 4, maps.unit, "middle", "axis"),
  );
  for (const tick of roundTicks(low, high, 5)) svg.append(text(x(tick), bottom + 13, tick));
  if (level === null) return svg;
  const shown = inUnit(level), at = x(shown), beyond = shown > high ? " →" : shown < low ? " ←" : "";
  const anchor = at < width / 4 ? "start" : at > (3 * width) / 4 ? "end" : "middle";
  svg.append(
    shape("line", { x1: at, x2: at, y1: top - 3, y2: bottom + 2, class: "mark" }),
    text(anchor === "start" ? left : anchor === "end" ? right : at, 10, `contour at ${unitText(shown)}${beyond}`, anchor, "contour-at"),
  );
  return svg;
}

function drawLegends() {
  document.documentElement.classList.toggle("no-maps", !maps);
  if (!maps) return;
  for (const id of ["legend", "viewer-legend"]) redraws.push(plot(id, (width) => legend(width, state.threshold)));
}
