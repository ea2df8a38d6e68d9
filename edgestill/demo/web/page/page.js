// The state of the run: figures, lights, charts and controls.

import { Chart } from "/charts.js";
import { drawPicture, labelOf, watchPictures } from "/pictures.js";

const RETRY_MS = 3000;
const HISTORY_S = 120;
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const count = (value) => (value < 10 && value % 1 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));

const page = { hello: null, state: null, history: new Map(), cards: new Map(), chosen: null };
const charts = {
  age: new Chart(byId("charts"), { title: "Frame age", kind: "line", format: ms }),
  stages: new Chart(byId("charts"), { title: "Time of a frame", kind: "stack", format: ms }),
  frames: new Chart(byId("charts"), { title: "Frames per second", kind: "line", format: count }),
  drops: new Chart(byId("charts"), { title: "Dropped frames per second", kind: "bars", format: count }),
};

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function dot(name) {
  const made = element("i", undefined, "dot");
  made.style.color = colourOf(name, dark.matches ? "dark" : "light");
  return made;
}

/** The colour of a class; pictures take those for a dark ground. */
function colourOf(name, ground = "dark") {
  return page.hello?.colours[ground][name] ?? "#8b98a5";
}

function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function setStatus(text, tone) {
  const status = byId("status");
  if (status.textContent !== text) status.textContent = text;
  status.dataset.tone = tone;
}

function showStatus({ paused, sources }) {
  const stale = sources.filter((one) => one.health === "stale").map((one) => one.name);
  if (stale.length) setStatus(`No frames: ${stale.join(", ")}`, "bad");
  else if (paused) setStatus("Paused", "warn");
  else if (sources.every((one) => one.health === "starting")) setStatus("Starting", "wait");
  else setStatus("Running", "good");
}

function card(name) {
  if (!page.cards.has(name)) {
    const made = byId("source").content.cloneNode(true).firstElementChild;
    made.querySelector(".name").textContent = name;
    made.querySelector(".name").addEventListener("click", () => choose(name));
    made.querySelector("canvas").addEventListener("click", () => choose(name));
    const full = made.querySelector(".full");
    full.hidden = !document.fullscreenEnabled;
    full.addEventListener("click", () => toggleFullScreen(made.querySelector(".picture")));
    byId("sources").append(made);
    page.cards.set(name, made);
    byId("sources").classList.toggle("several", page.cards.size > 1);
  }
  return page.cards.get(name);
}

function toggleFullScreen(picture) {
  if (document.fullscreenElement) document.exitFullscreen();
  else picture.requestFullscreen();
}

function choose(name) {
  page.chosen = name;
  render();
}

function showSource(one, state) {
  const made = card(one.name);
  const figures = [one.fps && `${one.fps.toFixed(1)} frames/s`, one.age_ms && `age ${ms(one.age_ms.p50)}`];
  made.querySelector(".kind").textContent = one.is_live ? "live" : "file";
  made.querySelector(".figures").textContent = figures.filter(Boolean).join(" · ");
  made.classList.toggle("chosen", one.name === page.chosen);
  made.classList.toggle("silent", one.health === "stale");
  showNotice(made.querySelector(".notice"), one, state.paused);
  const progress = made.querySelector("progress");
  progress.hidden = !one.total || one.total < 2;
  if (one.total) progress.value = one.frames / one.total;
  const objects = one.has_tracks ? one.objects.map((light) => objectItem(light, state.now_s)) : countItems(one.found);
  const none = element("li", one.has_tracks ? "Nothing tracked in this frame" : "Nothing found in this frame", "none");
  made.querySelector(".objects").replaceChildren(...(objects.length || !one.frames ? objects : [none]));
  made.querySelector(".note").textContent = noteOf(one);
}

function showNotice(notice, one, paused) {
  const silent = one.silent_s === null ? "No frame yet" : `No frame for ${duration(one.silent_s)}`;
  const text = one.health === "stale" ? silent : paused ? "Paused" : "";
  notice.hidden = !text;
  notice.textContent = text;
}

function objectItem(light, now) {
  const item = element("li", undefined, light.sure ? "" : "doubt");
  const facts = `#${light.id} · ${light.score.toFixed(2)} · ${duration(Math.max(0, now - light.since_s))}`;
  const name = light.sure ? light.state : `${light.detected}?`;
  item.append(dot(light.detected), element("span", name), element("small", facts));
  return item;
}

function countItems(found) {
  return Object.entries(found).map(([name, number]) => {
    const item = element("li");
    item.append(dot(name), element("span", `${number} ${name}`));
    return item;
  });
}

function noteOf(one) {
  if (!one.frames) return "";
  if (!one.has_tracks) return "Start the run with --track for objects with numbers, and for the states of lights.";
  return one.has_states ? "A dashed box, red?, is a detection whose state is not confirmed yet." : "";
}

function showChanges(sources, now) {
  const all = sources.flatMap((one) => one.changes.map((change) => ({ ...change, source: one.name })));
  all.sort((a, b) => b.at_s - a.at_s);
  const several = sources.length > 1;
  const items = all.slice(0, 12).map((change) => {
    const item = element("li");
    const state = (name) => [dot(name), element("span", name)];
    const at = element("time", new Date(Date.now() - (now - change.at_s) * 1000).toLocaleTimeString("en-GB"));
    const which = `${several ? `${change.source} ` : ""}#${change.id}`;
    const from = change.from === "unknown" ? [] : state(change.from);
    item.append(at, element("span", which, "which"), ...from, "→", ...state(change.to));
    return item;
  });
  byId("changes").hidden = !sources.some((one) => one.has_states);
  const list = byId("changes").querySelector("ol");
  list.replaceChildren(...(items.length ? items : [element("li", "None yet", "which")]));
}

function showCharts(one) {
  const seconds = page.history.get(one.name) ?? [];
  const now = seconds.at(-1)?.at ?? 0;
  const pick = (values) => seconds.map((second) => ({ at: second.at, values: values(second) }));
  const colour = (number) => `var(--stage-${number})`;
  charts.age.card.hidden = charts.drops.card.hidden = !one.is_live;
  const ranks = ["p50", "p95"].map((label, row) => ({ label, colour: colour([3, 5][row]) }));
  const age = one.age_ms && `last ${Math.min(one.frames, 1000)} frames: p99 ${ms(one.age_ms.p99)}`;
  charts.age.show(ranks, pick(({ age_ms: ages }) => ["p50", "p95"].map((p) => ages?.[p] ?? null)), now, age ?? "");
  const names = [...new Set(seconds.flatMap((second) => Object.keys(second.stages_ms)))];
  const stages = names.map((label, row) => ({ label, colour: colour(1 + (row % 6)) }));
  charts.stages.show(stages, pick((second) => names.map((name) => second.stages_ms[name] ?? null)), now, "");
  const frames = [{ label: "processed", colour: colour(3) }];
  charts.frames.show(frames, pick((second) => [second.frames]), now, `${count(one.frames)} in all`);
  const causes = Object.entries(one.drops).filter(([, number]) => number);
  const summary = causes.map(([cause, number]) => `${cause} ${count(number)}`).join(" · ") || "none";
  charts.drops.show([{ label: "dropped", colour: colour(5) }], pick((second) => [second.dropped]), now, summary);
}

function showControls({ paused, conf }) {
  const pause = byId("pause");
  pause.disabled = false;
  pause.textContent = paused ? "Resume" : "Pause";
  pause.setAttribute("aria-pressed", String(paused));
  const slider = byId("conf");
  slider.disabled = false;
  if (!waiting.conf && document.activeElement !== slider) slider.value = conf;
  byId("conf-value").textContent = Number(waiting.conf ? slider.value : conf).toFixed(2);
}

function render() {
  const { state } = page;
  if (!state) return;
  showStatus(state);
  page.chosen = state.sources.some((one) => one.name === page.chosen) ? page.chosen : state.sources[0].name;
  state.sources.forEach((one) => showSource(one, state));
  showChanges(state.sources, state.now_s);
  showCharts(state.sources.find((one) => one.name === page.chosen));
  showControls(state);
}

const waiting = { conf: null };

async function change(wanted) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch("/controls", { method: "POST", headers, body: JSON.stringify(wanted) }).catch(() => null);
  if (!answer?.ok) return setStatus("The change was not taken", "bad");
  Object.assign(page.state, await answer.json());
  render();
}

byId("pause").addEventListener("click", () => change({ paused: !page.state.paused }));
byId("conf").addEventListener("input", (event) => {
  byId("conf-value").textContent = Number(event.target.value).toFixed(2);
  clearTimeout(waiting.conf);
  waiting.conf = setTimeout(() => {
    waiting.conf = null;
    change({ conf: Number(event.target.value) });
  }, 150);
});

function addSeconds(seconds) {
  for (const [name, latest] of Object.entries(seconds)) {
    const known = page.history.get(name) ?? [];
    const last = known.at(-1)?.at ?? -1;
    known.push(...latest.filter((second) => second.at > last));
    page.history.set(name, known.slice(-HISTORY_S));
  }
}

function lose(text) {
  page.state = null;
  byId("pause").disabled = byId("conf").disabled = true;
  setStatus(text, "bad");
}

/** Why there is no connection: a server that is up may have got another token. */
async function reason() {
  const answer = await fetch("/state").catch(() => null);
  return answer?.status === 401 ? "Open the address that the new run has printed" : "Not connected, trying again";
}

function connect() {
  const events = new EventSource("/events");
  const again = (text) => {
    events.close();
    lose(text);
    setTimeout(connect, RETRY_MS);
  };
  events.addEventListener("hello", ({ data }) => {
    page.hello = JSON.parse(data);
    page.history = new Map(Object.entries(page.hello.history));
    byId("facts").textContent = [page.hello.model, page.hello.backend, page.hello.device].join(" · ");
    document.title = `${page.hello.model} – edgestill`;
  });
  events.addEventListener("state", ({ data }) => {
    page.state = JSON.parse(data);
    addSeconds(page.state.seconds);
    render();
  });
  events.addEventListener("end", () => again("The run has ended"));
  events.addEventListener("error", async () => {
    events.close();
    again(await reason());
  });
}

const pictures = new Map(); // the newest of each source

async function showPicture(about, jpeg) {
  pictures.set(about.source, [about, jpeg]);
  const canvas = card(about.source).querySelector("canvas");
  canvas.setAttribute("aria-label", `${about.source}: ${about.boxes.map(labelOf).join(", ") || "no objects"}`);
  await drawPicture(canvas, about, jpeg, colourOf);
}

dark.addEventListener("change", render);
addEventListener("resize", () => pictures.forEach((picture) => showPicture(...picture)));
watchPictures(showPicture);
connect();
