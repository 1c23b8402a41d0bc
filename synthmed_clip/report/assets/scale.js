// The scale of scores: where they are drawn, how they are written, which ticks are round. All else asks it.
"use strict";

const report = JSON.parse(document.getElementById("report").textContent);
const images = report.images;
const levels = [...new Set(images.map((image) => image.score))].sort((a, b) => a - b);

const SMALLEST = 2 ** -24; // half of float32's step below 1: a score that says 1 is drawn there

/** A share in [0, 1] to three digits, or as many as tell it from 0 and from 1. */
function shareText(share) {
  if (share <= 0 || share >= 1) return share.toFixed(3);
  const distance = Math.min(share, 1 - share);
  return share.toFixed(distance < 0.0005 ? Math.min(12, Math.ceil(-Math.log10(distance) - 1e-9)) : 3);
}

/** Multiples of 1, 2 or 5 times a power of ten from low to high: as many as `most`, or half that. */
function roundTicks(low, high, most) {
  const least = (high - low) / most, power = 10 ** Math.floor(Math.log10(least));
  const size = [1, 2, 5, 10].find((factor) => factor * power >= least * (1 - 1e-9)) * power;
  const ticks = [];
  for (let k = Math.ceil(low / size - 1e-9); k * size <= high + 1e-9 * size; k++) ticks.push(+(k * size).toPrecision(12) + 0);
  return ticks;
}

/** For scores in [0, 1], which crowd at both ends. */
const logOdds = {
  name: "log-odds",
  floor: 0, // a threshold that every score is above
  step: 0.001,
  place(score) {
    const inside = Math.min(Math.max(score, SMALLEST), 1 - SMALLEST);
    return Math.log(inside / (1 - inside));
  },
  /** Enough digits to tell it from 0 and 1. */
  show(score) {
    const distance = Math.min(score, 1 - score);
    if (distance <= 0) return String(score);
    return score.toFixed(Math.min(8, Math.max(3, 1 + Math.ceil(-Math.log10(distance)))));
  },
  /** Round scores between two places. */
  ticks(low, high) {
    const round = [0.5];
    for (let power = 1; power <= 7; power++) round.push(10 ** -power, 1 - 10 ** -power);
    const ticks = round.sort((a, b) => a - b).filter((score) => this.place(score) >= low && this.place(score) <= high);
    if (ticks.length >= 3) return ticks.map((score) => +score.toPrecision(7));
    const [least, most] = [low, high].map((place) => 1 / (1 + Math.exp(-place)));
    return roundTicks(least, most, 8).filter((score) => score > least && score < most);
  },
};

/** For scores of any size; digits and steps are those that their range needs. */
const linear = (() => {
  const [least, most] = [levels[0], levels.at(-1)];
  const range = most - least || Math.abs(most) || 1, digits = Math.floor(Math.log10(range));
  return {
    name: "linear",
    floor: least - range / 100,
    step: 10 ** (digits - 3),
    place: (score) => score,
    show: (score) => score.toFixed(Math.min(20, Math.max(0, 3 - digits))),
    ticks: (low, high) => roundTicks(low, high, 10),
  };
})();

const scale = { "log-odds": logOdds, linear }[report.scale];
