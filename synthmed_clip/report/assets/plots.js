// Plots as inline SVG, one unit a pixel, so that text keeps its size at any width. Colours are the style sheet's.

/** Make an element: text children as text, never as markup. */
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Draw now and whenever the place's width changes; returns the function that draws. */
function plot(id, draw) {
  const host = document.getElementById(id);
  const redraw = () => host.clientWidth && host.replaceChildren(draw(host.clientWidth));
  new ResizeObserver(redraw).observe(host);
  return redraw;
}

function canvasOf(width, height, label) {
  return shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
}

function path(points) {
  return "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
}

function text(x, y, content, anchor = "middle", name = "tick") {
  return shape("text", { x, y, "text-anchor": anchor, class: name }, content);
}

/** Axes over [x0, x1] and [y0, y1] with ticks; returns the scales. */
function frame(svg, { width, height, xTicks, yTicks, x: [x0, x1], y: [y0, y1], xLabel, yLabel, show = String }) {
  const box = { left: 46, right: width - 12, top: 10, bottom: height - 42 };
  const x = (value) => box.left + ((value - x0) / (x1 - x0)) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - y0) / (y1 - y0)) * (box.bottom - box.top);
  for (const tick of yTicks) {
    svg.append(
      shape("line", { x1: box.left, x2: box.right, y1: y(tick), y2: y(tick), class: "grid" }),
      text(box.left - 7, y(tick) + 4, show(tick), "end"),
    );
  }
  for (const tick of xTicks) {
    svg.append(
      shape("line", { x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom, class: "grid" }),
      text(x(tick), box.bottom + 17, String(tick)),
    );
  }
  const middle = (box.top + box.bottom) / 2;
  const side = text(0, 0, yLabel, "middle", "axis");
  side.setAttribute("transform", `translate(12 ${middle}) rotate(-90)`);
  svg.append(text((box.left + box.right) / 2, height - 6, xLabel, "middle", "axis"), side);
  return { x, y };
}

const FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1];

/** A curve in the unit square with its band, the chance line and the point where the threshold is. */
function curvePlot(width, curve, { label, xLabel, yLabel, chance, point, stepped }) {
  const height = Math.min(width, 400);
  const svg = canvasOf(width, height, label);
  const { x, y } = frame(svg, {
    width, height, xTicks: FIFTHS, yTicks: FIFTHS, x: [0, 1], y: [0, 1], xLabel, yLabel,
  });
  const upper = curve.grid.map((at, i) => [x(at), y(curve.high[i])]);
  const lower = curve.grid.map((at, i) => [x(at), y(curve.low[i])]);
  let line = curve.x.map((at, i) => [x(at), y(curve.y[i])]);
  if (stepped) line = line.flatMap(([at, level], i) => (i ? [[line[i - 1][0], level], [at, level]] : [[at, level]]));
  svg.append(
    shape("path", { d: path([...upper, ...lower.reverse()]) + "Z", class: "band" }),
    shape("path", { d: path(chance.map(([a, b]) => [x(a), y(b)])), class: "chance" }),
    shape("path", { d: path(line), class: "curve" }),
  );
  if (point.every(Number.isFinite)) {
    svg.append(shape("circle", { cx: x(point[0]), cy: y(point[1]), r: 5.5, class: "point" }));
  }
  return svg;
}

/** The round scores between two places, as many as fit. */
function scoreTicks(low, high, x) {
  const kept = [];
  for (const tick of scale.ticks(low, high)) {
    const at = x(scale.place(tick));
    const room = 12 + 3.4 * (String(tick).length + String(kept.at(-1)?.[1] ?? "").length); // of half of each label
    if (!kept.length || at - kept.at(-1)[0] > room) kept.push([at, tick]);
  }
  return kept;
}

/** Normal above the axis, abnormal below it, each as shares of its own kind. */
function histogramPlot(width, images, threshold) {
  const height = 286, left = 12, right = width - 12, top = 42, middle = 128, bottom = 214;
  const places = images.map((image) => scale.place(image.score));
  const around = [...places, scale.place(threshold)];
  const least = Math.min(...around), most = Math.max(...around), margin = (most - least) / 40 || 1;
  const low = least - margin, high = most + margin;
  const x = (place) => left + ((place - low) / (high - low)) * (right - left);
  const svg = canvasOf(width, height, "Histogram of scores, normal images above and abnormal ones below the axis");
  const bins = Math.max(16, Math.min(60, Math.floor(width / 14)));
  const edge = (bin) => low + ((high - low) * bin) / bins;
  const heights = [false, true].map((abnormal) => {
    const counts = Array(bins).fill(0);
    places.forEach((place, i) => {
      if (images[i].abnormal === abnormal) counts[Math.min(bins - 1, Math.floor(((place - low) / (high - low)) * bins))]++;
    });
    return counts;
  });
  const totals = heights.map((counts) => counts.reduce((a, b) => a + b));
  const tallest = Math.max(...heights.flatMap((counts, k) => counts.map((count) => count / totals[k])));
  heights.forEach((counts, k) => {
    const word = k ? "abnormal" : "normal";
    counts.forEach((count, bin) => {
      if (!count) return;
      const length = (count / totals[k] / tallest) * (k ? bottom - middle : middle - top);
      const bar = {
        x: x(edge(bin)) + 0.75, width: Math.max(1, (right - left) / bins - 1.5), height: length,
        y: k ? middle + 1 : middle - 1 - length, rx: 1.5, class: `bar ${word}`,
      };
      svg.append(shape("rect", bar, shape("title", {}, `${count} of ${totals[k]} ${word} images`)));
    });
    svg.append(text(left, k ? bottom + 16 : top - 8, `${word} (${totals[k]})`, "start", `kind ${word}`));
  });
  const axis = bottom + 26;
  for (const y of [middle, axis]) svg.append(shape("line", { x1: left, x2: right, y1: y, y2: y, class: "zero" }));
  for (const [at, label] of scoreTicks(low, high, x)) {
    svg.append(shape("line", { x1: at, x2: at, y1: axis, y2: axis + 5, class: "zero" }), text(at, axis + 19, label));
  }
  const at = x(scale.place(threshold));
  const anchor = at < width / 4 ? "start" : at > (3 * width) / 4 ? "end" : "middle";
  svg.append(
    shape("line", { x1: at, x2: at, y1: top - 4, y2: bottom, class: "threshold" }),
    text(at, 14, `threshold ${scale.show(threshold)}`, anchor, "axis"),
    text((left + right) / 2, height - 4, "score", "middle", "axis"),
  );
  return svg;
}

/** The losses of the fit. */
function lossPlot(width, log) {
  const height = 240, names = ["loss", "focal", "dice"];
  const most = Math.max(...log.map((epoch) => epoch.loss)) * 1.05 || 1;
  const yTicks = roundTicks(0, most, 6);
  const last = Math.max(2, log.length);
  const ends = names.map((name) => `${name} ${log.at(-1)[name].toFixed(3)}`);
  const svg = canvasOf(width, height, `Loss by epoch, at the end ${ends.join(", ")}`);
  const { x, y } = frame(svg, {
    width, height, yTicks, xTicks: [1, Math.round(last / 2), last], x: [1, last], y: [0, most],
    xLabel: "epoch", yLabel: "loss",
  });
  names.forEach((name, i) => {
    svg.append(shape("path", { d: path(log.map((e) => [x(e.number), y(e[name])])), class: `curve loss-${name}` }));
    svg.append(text(width - 16 - 60 * (2 - i), 24, name, "end", `kind loss-${name}`));
  });
  return svg;
}
