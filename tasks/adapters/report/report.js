const list = find("list");
const videos = [...list.children];
const texts = new Map(); // what is searched, read off the page once it is needed
const SEARCHED = { all: ":scope > :not(.alternatives, .marking)", said: ":scope > .said" };
let here = null; // the card that keys are about

function textOf(card, where) {
  const key = `${where} ${card.id}`;
  if (!texts.has(key)) texts.set(key, [...card.querySelectorAll(SEARCHED[where])].map((part) => part.textContent).join("\n").toLowerCase());
  return texts.get(key);
}

function numberOf(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

function filter() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean), where = find("where").value;
  const least = Number(find("least").value) || 0, verdict = find("verdict").value;
  const viral = find("viral").checked, fresh = find("new")?.checked;
  const fits = (card, video) => card.dataset.score >= least && (!viral || "viral" in card.dataset) &&
    (!verdict || (marks.get(segmentOf(card))?.verdict || "none") === verdict) &&
    words.every((word) => (where === "all" && video.dataset.name.includes(word)) || textOf(card, where).includes(word));
  let moments = 0, shown = 0;
  for (const video of videos) {
    let fitting = 0;
    if (!fresh || "new" in video.dataset) {
      for (const card of video.querySelectorAll(":scope > .cards > .card")) {
        const others = [...card.querySelectorAll(".alternatives .card")];
        for (const other of others) other.hidden = !fits(other, video);
        const isBest = fits(card, video), isOther = others.some((other) => !other.hidden);
        card.hidden = !isBest && !isOther;
        if (!isBest && isOther) card.querySelector(".alternatives").open = true;
        fitting += !card.hidden;
      }
    }
    video.hidden = !fitting;
    shown += fitting > 0;
    moments += fitting;
  }
  find("shown").textContent = `${numberOf(moments, "moment")} of ${shown} of ${numberOf(videos.length, "video")}`;
}

function sort() {
  const key = find("sort").value;
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name);
  const byNumber = (a, b) => b.dataset[key] - a.dataset[key] || byName(a, b);
  list.append(...videos.sort(key === "name" ? byName : byNumber));
}

function equip(fold) { // what only opened cards need
  for (const card of fold.querySelectorAll(".card")) {
    if (card.querySelector(":scope > .marking") || card.closest(".alternatives:not([open])")) continue;
    equipMarking(card);
    const link = card.querySelector(":scope > .play"), sheet = card.querySelector(":scope > .scrub");
    if (link) near.observe(link);
    if (sheet) equipSheet(sheet);
  }
}

function goTo(card, place = "start") {
  for (let fold = card.closest("details"); fold; fold = fold.parentElement.closest("details")) {
    fold.open = true;
    equip(fold);
  }
  card.scrollIntoView({ block: place });
  card.focus({ preventScroll: true });
}

function openTarget() {
  const target = location.hash && find(location.hash.slice(1));
  const video = target && target.closest(".video");
  if (!video) return;
  if (video.hidden || target.closest("[hidden]")) reset();
  goTo(target);
}

function reset() {
  document.querySelector(".tools").reset();
  filter();
}

function step(by) {
  const cards = [...list.querySelectorAll(".card")].filter((card) => !card.closest("[hidden], .alternatives:not([open])"));
  const at = cards.indexOf(here), next = at < 0 ? cards[0] : cards[at + by];
  if (next) goTo(next, "nearest");
}

function onKey(event) {
  const isTyping = event.target.closest?.("input:not([type=checkbox]), select, textarea");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !find("keys").checked) return;
  const key = event.key.toLowerCase(), verdict = { 1: "published", 2: "rejected" }[key];
  if (key === "n" || key === "p") step(key === "n" ? 1 : -1);
  else if (!here || here.closest("[hidden], details:not([open])")) return; // no longer to be seen
  else if ("jkl".includes(key) && playerOf(here)) shuttle(playerOf(here), key);
  else if (verdict) decide(here, verdict);
  else if (key === "3") here.querySelector(":scope > .marking input").focus();
  else return;
  event.preventDefault();
}

addEventListener("hashchange", openTarget);
addEventListener("beforeprint", () => videos.forEach((video) => { video.open = true; }));
document.addEventListener("toggle", ({ target }) => { if (target.open) equip(target); }, true);
document.addEventListener("focusin", ({ target }) => { here = target.closest(".card") ?? here; });
if (videos.length) {
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["search", "least", "viral", "new"]) find(id)?.addEventListener("input", filter);
  for (const id of ["where", "verdict"]) find(id).addEventListener("change", filter);
  find("sort").addEventListener("change", sort);
  find("toggle").addEventListener("click", () => {
    const open = !videos.every((video) => video.open);
    videos.forEach((video) => { video.open = open; });
    find("toggle").textContent = open ? "Close all" : "Open all";
  });
  find("export").addEventListener("click", save);
  document.addEventListener("keydown", onKey);
  document.querySelectorAll("details[open]").forEach(equip);
  filter();
  tell();
}
openTarget();
