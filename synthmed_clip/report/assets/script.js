// The page but for plots and gallery: figures, the movable threshold, tables, theme.
const byId = (id) => document.getElementById(id);
const state = { threshold: report.threshold, prevalence: null };

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** tp, fn, fp or tn. */
function outcomeOf(image) {
  const flagged = image.score > state.threshold;
  return image.abnormal ? (flagged ? "tp" : "fn") : flagged ? "fp" : "tn";
}

function countOutcomes(chosen) {
  const counts = { tp: 0, fn: 0, fp: 0, tn: 0 };
  for (const image of chosen) counts[outcomeOf(image)]++;
  return counts;
}

/** Wilson's 95 % interval of a share. */
function shareOf(hits, total) {
  const z2 = 1.959964 ** 2, value = hits / total;
  const middle = (value + z2 / (2 * total)) / (1 + z2 / total);
  const half = Math.sqrt((z2 * value * (1 - value)) / total + (z2 / total) ** 2 / 4) / (1 + z2 / total);
  return { value, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

function bracket({ low, high }) {
  return `${shareText(low)} – ${shareText(high)}`;
}

/** A value, its interval in words and as a bar from 0 to 1; with a mark at what knows nothing, if that is told. */
function withInterval(interval, baseline) {
  const bar = element("span", { class: "interval", "aria-hidden": "true" }, element("i"), element("b"));
  const range = bar.firstChild;
  range.style.left = `${100 * interval.low}%`;
  range.style.right = `${100 * (1 - interval.high)}%`;
  bar.lastChild.style.left = `${100 * interval.value}%`;
  const shown = [element("b", { class: "number" }, shareText(interval.value)), " ",
    element("small", { class: "number" }, bracket(interval)), bar];
  if (!baseline) return shown;
  const [value, meaning] = baseline, mark = element("s");
  mark.style.left = `${100 * value}%`;
  bar.prepend(mark);
  return [...shown, element("small", { class: "baseline" }, `${meaning} `, element("span", { class: "number" }, shareText(value)))];
}

function drawSummary() {
  const { normal, abnormal } = report.counts;
  document.title = `${report.name}: detector report`;
  byId("title").textContent = report.name;
  byId("subtitle").textContent = `${report.detector}; tested on ${normal} normal and ${abnormal} abnormal images`;
  for (const [level, metrics] of Object.entries(report.metrics)) {
    const tiles = Object.entries(metrics).map(([name, interval]) =>
      element("div", { class: "tile" }, element("h3", {}, `${level} ${name}`), ...withInterval(interval, report.baselines[level][name])));
    if (tiles.length) byId("metrics").append(element("div", { class: "tiles" }, ...tiles));
  }
  byId("pixel-note").textContent = !maps
    ? "The method gives no maps, so there are no figures for pixels."
    : report.counts.masked
    ? `Pixels: ${plural(report.counts.masked, "abnormal image")} with a mask, and all normal ones; ` +
      "AUPRO up to a false positive rate of 0.3."
    : "No abnormal image has a mask, so there are no figures for pixels.";
  for (const { title, message, names, grave } of report.warnings) {
    const list = element("ul", {}, ...names.map((name) => element("li", {}, name)));
    const more = names.length ? [element("details", {}, element("summary", {}, plural(names.length, "case")), list)] : [];
    byId("warnings").append(
      element("div", { class: grave ? "warning grave" : "warning", role: grave ? "alert" : "note" },
        element("b", {}, title), element("p", {}, message), ...more),
    );
  }
  byId("decision").append(...report.decision.map((paragraph) => element("p", { class: "note" }, paragraph)));
}

const redraws = [];

function drawThreshold() {
  const counts = countOutcomes(images);
  for (const [name, count] of Object.entries(counts)) byId(name).textContent = count;
  const { tp, fn, fp, tn } = counts;
  const sensitivity = shareOf(tp, tp + fn), specificity = shareOf(tn, fp + tn);
  const own = (tp + fn) / images.length, prevalence = state.prevalence ?? own;
  const flaggedIll = sensitivity.value * prevalence, flaggedWell = (1 - specificity.value) * (1 - prevalence);
  const clearedIll = (1 - sensitivity.value) * prevalence, clearedWell = specificity.value * (1 - prevalence);
  byId("sensitivity").replaceChildren(...withInterval(sensitivity));
  byId("specificity").replaceChildren(...withInterval(specificity));
  const ppv = flaggedIll / (flaggedIll + flaggedWell), npv = clearedWell / (clearedIll + clearedWell);
  byId("ppv").textContent = Number.isFinite(ppv) ? shareText(ppv) : "none flagged";
  byId("npv").textContent = Number.isFinite(npv) ? shareText(npv) : "none cleared";
  if (state.prevalence === null) byId("prevalence").value = (100 * own).toFixed(1);
  byId("slider").value = levels.filter((level) => level <= state.threshold).length;
  byId("slider").setAttribute("aria-valuetext",
    `${scale.show(state.threshold)}: sensitivity ${shareText(sensitivity.value)}, specificity ${shareText(specificity.value)}`);
  byId("value").value = +state.threshold.toPrecision(8);
  byId("exact").textContent = String(state.threshold);
  byId("calibrated").disabled = state.threshold === report.threshold;
  state.point = { recall: sensitivity.value, rate: 1 - specificity.value, precision: tp / (tp + fp) };
  drawClasses();
  for (const redraw of redraws) redraw();
}

function drawClasses() {
  const rows = report.classes.map((group) => {
    const members = images.filter((image) => image.kind === group.kind);
    const { tp, tn } = countOutcomes(members);
    const right = shareOf(tp + tn, members.length), word = group.abnormal ? "sensitivity" : "specificity";
    const side = group.abnormal ? "abnormal" : "normal";
    const cells = [
      ["Images", [String(members.length)]],
      ["Masks", [group.abnormal ? String(group.masked) : "–"]],
      ["Right at this threshold", [element("span", { class: "word" }, word), " ", ...withInterval(right)]],
      ["AUROC against all normal images", group.auroc ? withInterval(group.auroc) : ["–"]],
    ];
    const swatch = element("span", { class: `swatch ${side}`, "aria-hidden": "true" });
    return element("tr", {},
      element("th", { scope: "row" }, swatch, group.kind, " ",
        element("small", {}, group.kind === side ? "" : side)),
      ...cells.map(([label, content]) => element("td", { "data-label": label }, ...content)));
  });
  byId("class-rows").replaceChildren(...rows);
}

function drawRobustness() {
  const rows = report.robustness;
  byId("robustness").hidden = !rows.length;
  document.querySelector('nav a[href="#robustness"]').hidden = !rows.length;
  byId("robustness-rows").append(...rows.map(({ name, images: count, mean, largest }) =>
    element("tr", {}, element("th", { scope: "row" }, name),
      ...[["Images", String(count)],
        ["Mean shift", count ? (mean < 0 ? "−" : "+") + Math.abs(mean).toFixed(2) : "–"],
        ["Largest shift", count ? largest.toFixed(2) : "–"],
      ].map(([label, text]) => element("td", { "data-label": label }, text)))));
}

function drawData() {
  const { normal, abnormal, train } = report.counts;
  const masked = report.classes.reduce((sum, group) => sum + (group.abnormal ? group.masked : 0), 0);
  byId("data-facts").append(factTable("Data set", [
    ["Name", report.name],
    ["Test images", `${normal + abnormal}: ${normal} normal, ${abnormal} abnormal`],
    ["By class", report.classes.map((group) => `${group.kind} ${group.count}`).join(", ")],
    ["Masks", masked ? `${masked} of ${abnormal} abnormal images` : "none"],
    ["Left out", report.left_out.length ? report.left_out.join("; ") : "nothing"],
    ["Training images", train ? `${train} normal, from which support images may come` : "none listed"],
  ]));
  byId("support-note").textContent = report.support.note;
  byId("support").append(...report.support.images.map((image) =>
    element("li", {}, element("img", { src: image.source, alt: "" }), element("span", {}, image.name))));
}

function drawProvenance() {
  for (const [title, rows] of Object.entries(report.facts)) byId("facts").append(factTable(title, rows));
  for (const recipe of report.recipes) {
    const title = element("summary", {}, "Recipe of the synthetic anomalies");
    byId("recipes").append(element("details", {}, title, element("pre", {}, recipe)));
  }
  byId("losses").hidden = !report.log.length;
  if (report.log.length) redraws.push(plot("loss", (width) => lossPlot(width, report.log)));
}

function factTable(title, rows) {
  return element("table", { class: "facts" }, element("caption", {}, title), element("tbody", {},
    ...rows.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)))));
}

function followThreshold() {
  redraws.push(
    plot("histogram", (width) => histogramPlot(width, images, state.threshold)),
    plot("roc", (width) => curvePlot(width, report.curves.roc, {
      label: `ROC curve, area ${shareText(report.metrics.Image.AUROC.value)}`,
      xLabel: "1 − specificity", yLabel: "sensitivity", chance: [[0, 0], [1, 1]],
      point: [state.point.rate, state.point.recall],
    })),
    plot("pr", (width) => {
      const chance = report.counts.abnormal / images.length;
      return curvePlot(width, report.curves.pr, {
        label: `Precision-recall curve, average precision ${shareText(report.metrics.Image.AP.value)}`,
        xLabel: "recall (sensitivity)", yLabel: "precision (PPV)",
        chance: [[0, chance], [1, chance]], point: [state.point.recall, state.point.precision], stepped: true,
      });
    }),
  );
  byId("scale").textContent = scale.name;
  byId("value").step = scale.step;
  byId("slider").max = levels.length;
  // At place k the k lowest of the distinct scores are not flagged: the place alone would bunch up where scores do.
  byId("slider").addEventListener("input", (event) => {
    const place = Number(event.target.value);
    setThreshold(place ? levels[place - 1] : scale.floor, false);
  });
  byId("slider").addEventListener("change", settle);
  byId("value").addEventListener("change", (event) => {
    const given = event.target.valueAsNumber;
    setThreshold(Number.isFinite(given) ? given : state.threshold);
  });
  byId("calibrated").addEventListener("click", () => setThreshold(report.threshold));
  byId("prevalence").addEventListener("input", (event) => {
    const given = event.target.valueAsNumber;
    state.prevalence = given >= 0 && given <= 100 ? given / 100 : null;
    if (state.prevalence !== null) drawThreshold();
  });
  byId("prevalence").addEventListener("change", drawThreshold); // an empty or odd one is back to the test set's
}

function setThreshold(threshold, finished = true) {
  state.threshold = threshold;
  drawThreshold();
  if (finished) settle();
}

/** What follows the threshold only when it rests: browsers let an address change so often, and no more. */
function settle() {
  byId("copied").textContent = "";
  drawGallery();
  writeAddress();
}

function followTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    byId("theme").textContent = name === "dark" ? "Light theme" : "Dark theme";
  };
  set(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => set(dark.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => set(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}

followTheme();
drawSummary();
drawRobustness();
drawData();
drawProvenance();
followThreshold();
drawLegends();
drawThreshold();
startGallery();
startViewer();
startAddress();
