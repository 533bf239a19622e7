const list = find("list");
const videos = [...list.children];
const texts = new Map(); // what is searched, read off the page once it is needed

function textOf(card) {
  if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
  return texts.get(card);
}

function filter() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const least = Number(find("least").value) || 0;
  const viral = find("viral").checked, fresh = find("new")?.checked;
  let moments = 0, shown = 0;
  for (const video of videos) {
    let here = 0;
    if (!fresh || "new" in video.dataset) {
      for (const card of video.querySelectorAll(".card")) {
        const fits = card.dataset.score >= least && (!viral || "viral" in card.dataset) &&
          words.every((word) => video.dataset.name.includes(word) || textOf(card).includes(word));
        card.hidden = !fits;
        here += fits && !card.closest(".alternatives");
      }
    }
    video.hidden = !here;
    shown += here > 0;
    moments += here;
  }
  find("shown").textContent = `${moments} moments of ${shown} of ${videos.length} videos`;
}

function sort() {
  const key = find("sort").value;
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name);
  const byNumber = (a, b) => b.dataset[key] - a.dataset[key] || byName(a, b);
  list.append(...videos.sort(key === "name" ? byName : byNumber));
}

function seek(event, link) {
  const player = link.closest(".card").querySelector("video");
  if (!player || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const play = () => { player.currentTime = Number(link.dataset.at); player.play().catch(() => {}); };
  if (player.readyState) play();
  else { player.addEventListener("loadedmetadata", play, { once: true }); player.load(); player.preload = "auto"; }
}

function openTarget() {
  const target = location.hash && find(location.hash.slice(1));
  const video = target && target.closest(".video");
  if (!video) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (video.hidden || target.hidden) reset();
  target.scrollIntoView({ block: "start" });
  target.focus({ preventScroll: true });
}

function reset() {
  document.querySelector(".tools").reset();
  filter();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.watch");
  if (link) seek(event, link);
});
addEventListener("hashchange", openTarget);
addEventListener("beforeprint", () => videos.forEach((video) => { video.open = true; }));
if (videos.length) {
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["search", "least", "viral", "new"]) find(id)?.addEventListener("input", filter);
  find("sort").addEventListener("change", sort);
  find("toggle").addEventListener("click", () => {
    const open = !videos.every((video) => video.open);
    videos.forEach((video) => { video.open = open; });
    find("toggle").textContent = open ? "Close all" : "Open all";
  });
  filter();
}
openTarget();
