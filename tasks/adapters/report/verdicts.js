const COLUMNS = ["video_uri", "video_etag", "start", "end", "verdict", "labelled_on", "note"]; // as hookline labels reads them
const MARKS = `hookline verdict ${JSON.stringify(find("list").dataset.output)} `; // begins a key in localStorage

const marks = new Map(); // by segment: what was decided of it
let isKept = true; // whether this browser keeps them when the page is closed

function segmentOf(card) { // in JSON: video, version, start and end as the tables have them
  const { start, end } = card.dataset;
  return JSON.stringify([...JSON.parse(card.closest(".video").dataset.version), start, end]);
}

function learn(key, text) {
  const segment = key.slice(MARKS.length);
  try {
    if (text) marks.set(segment, JSON.parse(text));
    else marks.delete(segment);
  } catch { /* not written by this page */ }
}

function restore() {
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(MARKS)) learn(key, localStorage.getItem(key));
    }
    localStorage.setItem("hookline", "verdicts are kept here");
  } catch {
    isKept = false;
  }
}

function keep(segment) {
  try {
    if (marks.has(segment)) localStorage.setItem(MARKS + segment, JSON.stringify(marks.get(segment)));
    else localStorage.removeItem(MARKS + segment);
  } catch {
    isKept = false;
  }
}

function mark(card, change, isDone = true) { // of a note that is being typed, nothing is told
  const segment = segmentOf(card), now = new Date();
  const on = new Date(now - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
  const made = { verdict: "", note: "", ...marks.get(segment), ...change, on, isNew: true };
  if (made.verdict || made.note) marks.set(segment, made);
  else marks.delete(segment);
  keep(segment);
  if (!isDone) return;
  paint(card);
  const name = card.closest(".video").querySelector(".name").textContent;
  tell(`${card.querySelector(".rank").textContent} of ${name}: ${made.verdict || "no verdict"}${made.note && ", with a note"}.`);
}

function decide(card, verdict) { // once more takes it back
  mark(card, { verdict: marks.get(segmentOf(card))?.verdict === verdict ? "" : verdict });
}

function paint(card) {
  const marking = card.querySelector(":scope > .marking"), made = marks.get(segmentOf(card));
  card.dataset.verdict = made?.verdict ?? "";
  for (const button of marking.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.verdict === made?.verdict);
  }
  const note = marking.querySelector("input");
  if (note !== document.activeElement) note.value = made?.note ?? ""; // else it is being typed
}

function equipMarking(card) {
  const marking = find("marking").content.firstElementChild.cloneNode(true);
  marking.setAttribute("aria-label", `Verdict on rank ${card.querySelector(".rank").textContent}`);
  card.querySelector(":scope > .bars").before(marking);
  paint(card);
}

let onPage; // the segments of this page, looked up once
function tell(first = "") {
  onPage ??= new Set([...document.querySelectorAll(".card")].map(segmentOf));
  const all = [...marks.values()], counted = (verdict) => all.filter((each) => each.verdict === verdict).length;
  const bare = counted(""), away = [...marks.keys()].filter((segment) => !onPage.has(segment)).length;
  const said = [first];
  said.push(all.length ? `${counted("published")} published, ${counted("rejected")} rejected.` : "No verdicts yet: each moment has buttons for them.");
  if (bare) said.push(`${bare} with a note alone: hookline labels leaves them out.`);
  if (away) said.push(`${away} of moments that are not on this page.`);
  said.push(isKept ? "Verdicts stay in this browser." : "This browser keeps no verdicts: export them before you close the page.");
  find("marked").textContent = said.filter(Boolean).join(" ");
  const fresh = all.filter((each) => each.isNew).length;
  find("export").textContent = fresh || !all.length ? `Export ${fresh} new` : `Export all ${all.length} again`;
  find("export").disabled = !all.length;
}

function quoted(value) {
  return `"${String(value).replaceAll('"', '""')}"`;
}

function save() {
  const fresh = [...marks].filter(([, made]) => made.isNew), chosen = fresh.length ? fresh : [...marks];
  const rows = chosen.sort(([a], [b]) => (a < b ? -1 : 1)).map(([segment, made]) => [...JSON.parse(segment), made.verdict, made.on, made.note]);
  const text = [COLUMNS, ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" })); // the mark tells spreadsheets it is UTF-8
  link.download = find("export").dataset.name;
  link.click();
  for (const [segment, made] of chosen) {
    made.isNew = false;
    keep(segment);
  }
  tell(`Saved as ${link.download}: bring it in with hookline labels OUTPUT ${link.download}.`);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest(".marking button");
  if (button) decide(button.closest(".card"), button.dataset.verdict);
});
for (const kind of ["input", "change"]) {
  document.addEventListener(kind, ({ target }) => {
    if (target.matches(".marking input")) mark(target.closest(".card"), { note: target.value.trim() }, kind === "change");
  });
}
document.addEventListener("keydown", ({ key, target, isComposing }) => {
  if (["Enter", "Escape"].includes(key) && !isComposing && target.matches?.(".marking input")) target.closest(".card").focus();
});
addEventListener("storage", ({ key, newValue }) => { // marked in another window
  if (!key?.startsWith(MARKS)) return;
  learn(key, newValue);
  for (const marking of document.querySelectorAll(".marking")) paint(marking.closest(".card"));
  tell();
});
addEventListener("beforeunload", (event) => {
  if (!isKept && [...marks.values()].some((made) => made.isNew)) event.preventDefault();
});
restore();
