const GAP = 2; // pixels between the pictures of a sheet

const preview = document.createElement("div"), picture = document.createElement("canvas"), moment = document.createElement("span");
preview.className = "preview";
preview.setAttribute("aria-hidden", "true"); // screen readers are told the time
preview.append(picture, moment);

function clock(seconds) {
  const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600), rest = tenths % 600;
  const parts = minutes < 60 ? [minutes] : [Math.floor(minutes / 60), String(minutes % 60).padStart(2, "0")];
  return [...parts, String(Math.floor(rest / 10)).padStart(2, "0")].join(":") + (rest % 10 ? `.${rest % 10}` : "");
}

function timeOf(sheet, number) { // the middle of a picture's part of the moment
  const { from, to } = sheet.closest(".card").dataset;
  return Number(from) + (to - from) * (number + 0.5) / sheet.dataset.pictures;
}

function turnTo(sheet, number) {
  number = Math.max(0, Math.min(sheet.dataset.pictures - 1, number));
  sheet.setAttribute("aria-valuenow", number + 1);
  sheet.setAttribute("aria-valuetext", clock(timeOf(sheet, number)));
  const image = sheet.querySelector("img"), step = (image.naturalWidth + GAP) / sheet.dataset.pictures;
  if (!image.naturalWidth) return; // not decoded yet
  picture.width = step - GAP;
  picture.height = image.naturalHeight;
  picture.getContext("2d").drawImage(image, -number * step, 0);
  moment.textContent = clock(timeOf(sheet, number));
  if (preview.parentElement !== sheet) sheet.append(preview);
}

function numberAt(sheet, clientX) {
  const image = sheet.querySelector("img"), { left, width, height } = image.getBoundingClientRect();
  const drawn = Math.min(width, height * image.naturalWidth / image.naturalHeight); // it need not fill its box
  return Math.floor((clientX - left) / drawn * sheet.dataset.pictures);
}

function equipSheet(sheet) { // without this script it is a picture
  const about = sheet.querySelector("img").alt;
  for (const [name, value] of Object.entries({
    role: "slider", tabindex: 0, "aria-label": about, "aria-valuemin": 1, "aria-valuemax": sheet.dataset.pictures,
    "aria-valuenow": 1, "aria-valuetext": clock(timeOf(sheet, 0)),
  })) sheet.setAttribute(name, value);
}

function watchPicture(sheet) {
  const player = playerOf(sheet.closest(".card"));
  if (player) playAt(player, timeOf(sheet, sheet.getAttribute("aria-valuenow") - 1) - player.dataset.begins);
}

for (const kind of ["pointermove", "pointerdown"]) {
  document.addEventListener(kind, ({ target, clientX }) => {
    const sheet = target.closest?.(".scrub");
    if (sheet) turnTo(sheet, numberAt(sheet, clientX));
    else preview.remove();
  });
}
document.addEventListener("click", ({ target }) => {
  const sheet = target.closest(".scrub");
  if (sheet) watchPicture(sheet);
});
document.addEventListener("focusin", ({ target }) => {
  if (target.matches(".scrub:focus-visible")) turnTo(target, target.getAttribute("aria-valuenow") - 1);
});
for (const kind of ["focusout", "play"]) document.addEventListener(kind, () => preview.remove(), true); // it would hide the player
document.addEventListener("keydown", (event) => {
  const sheet = event.target.closest?.(".scrub");
  if (!sheet || event.ctrlKey || event.metaKey || event.altKey) return;
  const now = sheet.getAttribute("aria-valuenow") - 1;
  const to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, Home: 0, End: Infinity }[event.key];
  if (to !== undefined) turnTo(sheet, to);
  else if (event.key === "Enter") watchPicture(sheet);
  else return;
  event.preventDefault();
});
