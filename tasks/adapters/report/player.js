const FASTEST = 4; // times the speed of the video
const REWIND_MS = 100;
const NEAR_S = 0.1; // how far from its end a moment counts as watched
const CHECK_S = 0.4; // more than browsers let pass between two timeupdate events

let rewinding = 0; // the timer that plays backwards
let rewindSpeed = 0;

function playerOf(card) {
  const link = card.querySelector(":scope > .play");
  return link ? playerFor(link) : card.querySelector(":scope > video");
}

function playerFor(link) { // thousands of players would take a browser half a minute: each is made when it is near
  const player = document.createElement("video"), { poster, begins } = link.dataset;
  Object.assign(player, { controls: true, playsInline: true, preload: "none", src: link.href });
  if (poster) player.poster = poster;
  player.dataset.begins = begins;
  player.setAttribute("aria-label", link.textContent);
  link.replaceWith(player);
  return player;
}

function spanOf(player) { // of the moment, on the clock of what is played
  const { from, to } = player.closest(".card").dataset, begins = Number(player.dataset.begins);
  return [Math.max(0, from - begins), to - begins];
}

function playAt(player, at) {
  const play = () => { player.currentTime = Math.max(0, at); forward(player, 1); };
  if (player.readyState) return play();
  player.addEventListener("loadedmetadata", play, { once: true });
  player.preload = "auto";
  player.load();
}

function forward(player, speed) {
  stop(player);
  player.playbackRate = speed;
  if (player.readyState) player.play().catch(() => {}); // what is wrong comes as an error event
  else playAt(player, spanOf(player)[0]);
}

function backward(player, speed) {
  stop(player);
  rewindSpeed = speed;
  rewinding = setInterval(() => {
    player.currentTime = Math.max(0, player.currentTime - speed * REWIND_MS / 1000);
    if (!player.currentTime) stop(player);
  }, REWIND_MS);
}

function stop(player) {
  clearInterval(rewinding);
  rewinding = rewindSpeed = 0;
  player.pause();
}

function shuttle(player, key) { // as programs for cutting do it: L again is faster, so is J
  if (key === "k") stop(player);
  else if (key === "l") forward(player, player.paused ? 1 : Math.min(FASTEST, player.playbackRate * 2));
  else backward(player, Math.min(FASTEST, rewindSpeed * 2 || 1));
}

function isWithin(player) {
  const [from, to] = spanOf(player);
  return player.currentTime >= from - NEAR_S && player.currentTime < to;
}

const within = new WeakSet(); // players that were inside their moment when they were started or sought

function stopAtEnd(player) {
  const to = spanOf(player)[1], left_s = (to - player.currentTime) / player.playbackRate;
  if (player.paused || !within.has(player)) return;
  if (left_s <= 0) {
    stop(player);
    player.currentTime = to; // it is found out late
  } else if (left_s < CHECK_S) setTimeout(stopAtEnd, left_s * 1000, player);
}

function locate(player) {
  if (isWithin(player)) within.add(player);
  else within.delete(player);
}

const ON_PLAYERS = {
  loadedmetadata: (player) => { if (player.currentTime < spanOf(player)[0]) player.currentTime = spanOf(player)[0]; },
  play: (player) => {
    for (const other of document.querySelectorAll("video")) if (other !== player) other.pause();
    clearInterval(rewinding);
    const [from, to] = spanOf(player);
    if (player.readyState && Math.abs(player.currentTime - to) < NEAR_S) player.currentTime = from; // once more
    locate(player);
  },
  seeking: locate,
  timeupdate: stopAtEnd,
  error: (player) => {
    if (player.nextElementSibling?.matches(".unplayed")) return;
    const said = document.createElement("p");
    said.className = "unplayed";
    said.setAttribute("role", "alert");
    said.textContent = `This browser cannot play it: ${player.currentSrc || player.src} is not there, or in a format that it does not know.`;
    player.after(said);
  },
};
for (const [kind, act] of Object.entries(ON_PLAYERS)) {
  // Such events do not bubble, but pass here on their way down.
  document.addEventListener(kind, ({ target }) => { if (target.matches?.(".card > video")) act(target); }, true);
}

const near = new IntersectionObserver((links) => {
  for (const { isIntersecting, target } of links) if (isIntersecting && target.isConnected) playerFor(target);
}, { rootMargin: "50%" });

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.watch");
  if (!link || event.ctrlKey || event.metaKey) return;
  const player = playerOf(link.closest(".card"));
  event.preventDefault();
  playAt(player, Number(link.dataset.at));
});
