const FINAL = ["succeeded", "failed", "canceled"];
const FIELDS = ["video_path", "top_n", "window_seconds"];
const STAGES = { opening: "Opening the video", scoring: "Scoring windows", analysing: "Analysing segments" };
const OPENED = /^#job=([\w-]+)$/;
const RETRY_MS = 2000;

const key = find("key"); // only where the service asks for one
let watching = new AbortController();
let shown = null; // the job on the page, as it was last heard of

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (key?.value) headers.Authorization = `Bearer ${key.value}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw { detail: "The service does not answer. Is it running? Try again in a moment." };
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw { detail: `The service answered with ${response.status}.`, ...problem, status: response.status };
}

async function* jobsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (text + value).split(/\r?\n\r?\n/);
    text = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

async function watch(id) {
  watching.abort();
  watching = new AbortController();
  const { signal } = watching;
  while (!signal.aborted) {
    try {
      const response = await call(`jobs/${id}/events`, { signal });
      for await (const job of jobsOf(response)) {
        if (signal.aborted) return;
        show(job);
        if (FINAL.includes(job.status)) return await finish(job, signal);
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.status && problem.status !== 429 && problem.status < 500) return complain(problem);
    }
    find("state-text").textContent = "The connection is gone: looking again …";
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function show(job) {
  const { status } = job, name = job.video_path.split("/").pop();
  const isFinal = FINAL.includes(status);
  find("job").hidden = false;
  find("job-title").textContent = name;
  find("job-path").textContent = job.video_path;
  find("state").dataset.status = status;
  find("state-text").textContent = sentence(job);
  find("progress").hidden = isFinal;
  find("progress").value = job.percent;
  for (const link of find("jobs").querySelectorAll("a")) {
    const isShown = link.hash === `#job=${job.id}`; // the list may have come before it was
    if (isShown) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    if (isShown) link.nextElementSibling.textContent = since(job);
  }
  if (isFinal && document.activeElement === find("cancel")) find("job-title").focus();
  find("cancel").hidden = isFinal;
  find("cancel").setAttribute("aria-disabled", job.canceling); // disabled, it would lose the focus
  document.title = `${isFinal ? status : `${job.percent} %`}: ${name} – Hookline`;
  if (!shown) find("job-title").focus();
  // Not each of many windows: the status, the stage, and every quarter.
  const news = [job.id, status, job.stage, job.canceling, job.queue_position, Math.floor(job.percent / 25)].join();
  if (news !== shown?.news) say(isFinal ? "" : `${name}: ${sentence(job)} ${job.percent} %`);
  shown = { ...job, news };
}

function sentence(job) {
  if (job.canceling) return "Canceling …";
  if (job.status === "queued") return job.queue_position === 1 ? "Next in the queue." : `Number ${job.queue_position ?? "…"} in the queue.`;
  if (job.status === "running") return `${STAGES[job.stage] ?? job.stage}${job.total ? `: ${job.done} of ${job.total}` : ""}.`;
  if (job.status === "failed") return job.problem.detail;
  if (job.status === "canceled") return "Canceled: nothing was ranked.";
  const took = job.started_at && (new Date(job.ended_at) - new Date(job.started_at)) / 1000;
  return took ? `Ranked in ${took < 10 ? took.toFixed(1) : Math.round(took)} s.` : "Ranked before.";
}

async function finish(job, signal) {
  list();
  if (job.status !== "succeeded") return say(sentence(job));
  const response = await call(`jobs/${job.id}/cards`, { signal });
  const cards = await response.text();
  if (signal.aborted) return;
  find("result").innerHTML = cards; // escaped by the service, as in the report
  const moments = find("result").querySelectorAll(":scope > .cards > .card").length;
  say(`Done: ${moments} ${moments === 1 ? "moment" : "moments"}, the best first.`);
}

async function list(query = "?limit=10") {
  try {
    const page = await (await call(`jobs${query}`)).json();
    if (!new URLSearchParams(query).has("before")) find("jobs").replaceChildren();
    find("jobs").append(...page.jobs.map(entry));
    find("more").hidden = !page.next;
    find("more").onclick = () => list(new URL(page.next).search);
    nothing(find("jobs").childElementCount ? "" : "There are none yet.");
  } catch (problem) {
    find("jobs").replaceChildren();
    nothing(problem.status === 401 ? "Give an API key to see them." : problem.detail);
  }
}

function nothing(text) {
  find("no-jobs").textContent = text;
  find("no-jobs").hidden = !text;
}

function entry(job) {
  const item = document.createElement("li"), link = document.createElement("a"), about = document.createElement("span");
  link.href = `#job=${job.id}`;
  link.textContent = job.video_path.split("/").pop();
  link.title = job.video_path;
  link.className = "name";
  if (job.id === shown?.id) link.setAttribute("aria-current", "true");
  about.className = "quiet";
  about.textContent = since(job);
  item.append(link, about);
  return item;
}

function since(job) {
  return `${job.status}, ${new Date(job.created_at).toLocaleString()}`;
}

async function ask(event) {
  event.preventDefault();
  calm();
  const body = { video_path: find("video_path").value.trim() };
  for (const name of ["top_n", "window_seconds"]) if (find(name).value) body[name] = Number(find(name).value);
  if (!body.video_path) return complain({ detail: "Name a video first.", errors: [{ name: "video_path" }] });
  const button = find("ask").querySelector("button");
  button.disabled = true;
  try {
    const headers = { "Content-Type": "application/json" };
    const job = await (await call("jobs", { method: "POST", headers, body: JSON.stringify(body) })).json();
    location.hash = `job=${job.id}`;
    if (shown?.id === job.id) open(); // the hash is as it was
    list();
  } catch (problem) {
    complain(problem);
  } finally {
    button.disabled = false;
  }
}

function open() {
  const id = OPENED.exec(location.hash)?.[1];
  if (!id) return;
  calm();
  find("result").replaceChildren();
  find("job").hidden = true;
  shown = null;
  watch(id);
}

async function cancel() {
  if (shown.canceling) return;
  try {
    await call(`jobs/${shown.id}`, { method: "DELETE" });
  } catch (problem) {
    complain(problem);
  }
}

function complain(problem) {
  const wrong = (problem.errors ?? []).filter(({ name }) => FIELDS.includes(name));
  const asked = problem.status === 401 && key;
  const details = (problem.errors ?? []).filter(({ detail }) => detail).map(({ name, detail }) => `${name}: ${detail}.`);
  find("problem").textContent = [problem.detail, ...details].join(" ");
  find("problem").hidden = false;
  for (const { name } of wrong) mark(find(name));
  if (asked) mark(key);
  (asked || (wrong.length && find(wrong[0].name)) || find("problem")).focus();
}

function mark(field) {
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-errormessage", "problem");
}

function calm() {
  find("problem").hidden = true;
  for (const field of find("ask").querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

function say(text) {
  find("said").textContent = text;
}

if (key) {
  key.value = sessionStorage.getItem("hookline-key") ?? "";
  key.addEventListener("change", () => { sessionStorage.setItem("hookline-key", key.value); list(); open(); });
}
find("ask").addEventListener("submit", ask);
find("cancel").addEventListener("click", cancel);
addEventListener("hashchange", open);
list();
open();
