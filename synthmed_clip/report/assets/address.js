// The chosen threshold in the page's address, #SECTION&threshold=VALUE, so that a link opens the page at it; and copied.

/** Section and threshold that the address names; the threshold is null where it names none, NaN where it is no number. */
function readAddress() {
  const parts = location.hash.slice(1).split("&"), given = parts.find((part) => part.startsWith("threshold="));
  const written = given?.slice("threshold=".length).trim();
  return { section: parts.find((part) => part && !part.includes("=")) ?? "", threshold: given === undefined ? null : Number(written || NaN) };
}

/** Write it with all its digits; the detector's own needs none. */
function writeAddress() {
  const own = state.threshold === report.threshold, { section } = readAddress();
  const parts = [section, own ? "" : `threshold=${state.threshold}`].filter(Boolean);
  history.replaceState(null, "", parts.length ? `#${parts.join("&")}` : location.pathname + location.search);
}

/** Take the threshold that the address names; a link within the page names none, and changes nothing. */
function followAddress() {
  const { section, threshold } = readAddress();
  if (threshold !== null && Number.isFinite(threshold)) setThreshold(threshold);
  else writeAddress();
  const refused = threshold !== null && !Number.isFinite(threshold);
  byId("copied").textContent = refused ? "The address has no number as threshold; it was not changed." : "";
  if (section) document.getElementById(section)?.scrollIntoView();
}

async function copyThreshold() {
  const exact = byId("exact");
  try {
    await navigator.clipboard.writeText(exact.textContent);
  } catch { // a page without https has no clipboard, and may still copy what is selected
    getSelection().selectAllChildren(exact);
    if (!document.execCommand("copy")) {
      byId("copied").textContent = "Selected: press Ctrl+C";
      return;
    }
  }
  byId("copied").textContent = "Copied";
}

function startAddress() {
  byId("copy").addEventListener("click", copyThreshold);
  addEventListener("hashchange", followAddress);
  followAddress();
}
