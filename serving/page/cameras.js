// A card per camera: what it shows now. Cards out of view are neither drawn nor do they fetch pictures.

import * as words from "./words.js";

const SPAN = 300; // seconds that a line shows
const GAP = 5; // seconds without a score that break it, at least
const EVERY = 2000; // ms between two pictures of a camera, at least
const RANK = { down: 1, failed: 1 }; // after those that alarm; all others by name
const byName = new Intl.Collator(undefined, { numeric: true });

const grid = document.querySelector("#cards");
const filter = document.querySelector("#filter");
const template = document.querySelector("#card");
const cards = new Map(); // by camera's id
const inView = new Set();
let threshold = null;
let gap = GAP; // and where snippets are long, two of them
let painting = false; // with the next frame
let painted = 0; // ms, when that was last

const sight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inView.add(target.card);
      else inView.delete(target.card);
    }
    paint();
  },
  { rootMargin: "150px" },
);

export const cameraOf = (id) => cards.get(id)?.camera;
export const all = () => [...cards.values()].map(({ camera }) => camera).sort((a, b) => byName.compare(a.name, b.name));
export const limit = () => threshold;

/** All cameras, as the server has them now. */
export function put(answer) {
  threshold = answer.threshold;
  gap = Math.max(GAP, 2 * answer.snippet);
  const known = new Set(answer.cameras.map(({ id }) => id));
  for (const [id, card] of cards) if (!known.has(id)) remove(id, card);
  for (const camera of answer.cameras) {
    if (cards.has(camera.id)) cards.get(camera.id).camera = camera;
    else cards.set(camera.id, added(camera));
    cards.get(camera.id).stale = true;
  }
  setInk();
  arrange();
}

/** The fields of some that have changed; of scores the new ones. */
export function change(changes) {
  let moved = false;
  for (const { scores, ...fields } of changes) {
    const card = cards.get(fields.id);
    if (!card) continue; // its `list` event is on the way
    const camera = card.camera;
    moved ||= "state" in fields || "alarm" in fields || "name" in fields;
    Object.assign(camera, fields);
    card.stale = true;
    if (scores) extend(camera.scores, scores);
  }
  if (moved) arrange();
  else paint();
}

/** Add points that are new, and let go of those that the line no longer shows. */
function extend(points, more) {
  if (!more.length) return;
  const newest = more.at(-1)[0];
  if (points.length && newest < points.at(-1)[0] - gap) points.length = 0; // the stream has begun anew
  const last = points.at(-1)?.[0] ?? -Infinity;
  points.push(...more.filter(([at]) => at > last));
  const gone = points.findIndex(([at]) => at >= newest - SPAN);
  if (gone > 0) points.splice(0, gone);
}

function added(camera) {
  const item = template.content.cloneNode(true).firstElementChild;
  const find = (part) => item.querySelector(part);
  const parts = { img: find("img"), use: find("use"), path: find(".line path"), limit: find(".line .threshold") };
  for (const part of ["name", "score", "word", "aside", "text", "alarm", "none", "line"]) parts[part] = find(`.${part}`);
  const card = { camera, item, parts, stale: true, asked: 0, picture: 0, loading: false };
  item.card = card;
  parts.name.href = `#day/${camera.id}`;
  parts.img.onload = () => pictured(card, "");
  parts.img.onerror = () => pictured(card, "its picture cannot be loaded");
  sight.observe(item);
  return card;
}

function remove(id, { item }) {
  sight.unobserve(item);
  inView.delete(item.card);
  item.remove();
  cards.delete(id);
}

const rank = ({ alarm, state }) => (alarm != null ? 0 : (RANK[state] ?? 2));

/** Put the cards in their order, moving only those that are out of it, and leave out what the filter does. */
function arrange() {
  const wanted = filter.value.trim().toLowerCase();
  const shown = [...cards.values()].filter(({ camera }) => camera.name.toLowerCase().includes(wanted));
  shown.sort((a, b) => rank(a.camera) - rank(b.camera) || byName.compare(a.camera.name, b.camera.name));
  const focused = document.activeElement;
  const kept = new Set(shown);
  for (const card of cards.values()) if (!kept.has(card)) card.item.remove();
  let place = grid.firstElementChild;
  for (const { item } of shown) {
    if (item === place) place = place.nextElementSibling;
    else grid.insertBefore(item, place);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true }); // moved, it lost it
  document.querySelector("#matching").value = wanted ? `${shown.length} of ${cards.size}` : "";
  const empty = document.querySelector("#no-cards");
  empty.hidden = shown.length > 0;
  empty.textContent = cards.size ? "No camera's name has this in it." : "No camera is watched.";
  count();
  paint();
}

function count() {
  const counts = new Map();
  let alarming = 0;
  for (const { camera } of cards.values()) {
    counts.set(camera.state, (counts.get(camera.state) ?? 0) + 1);
    alarming += camera.alarm != null;
  }
  const told = ["down", "failed", "behind", "live", "waiting", "ended"].filter((state) => counts.has(state));
  const text = told.map((state) => `${counts.get(state)} ${state}`);
  if (alarming) text.unshift(`${alarming} with an alarm`);
  document.querySelector("#counts").textContent = text.join(" · ");
}

/** Draw, with the next frame, what is in view and has changed. */
export function paint() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    painted = performance.now();
    for (const card of inView) {
      if (card.stale) write(card);
      if (card.stale || card.camera.live) draw(card);
      card.stale = false;
      fetchPicture(card);
    }
  });
}

const say = (node, text) => node.textContent !== text && (node.textContent = text);

function write({ camera, item, parts }) {
  const alarms = camera.alarm != null;
  item.dataset.state = camera.state;
  item.classList.toggle("alarms", alarms);
  parts.alarm.hidden = !alarms;
  say(parts.name, camera.name);
  parts.name.title = [camera.name, camera.source, camera.text].filter(Boolean).join("\n");
  say(parts.score, words.number(camera.score));
  parts.score.classList.toggle("high", threshold != null && camera.score >= threshold);
  if (parts.use.getAttribute("href") !== `#${camera.state}`) parts.use.setAttribute("href", `#${camera.state}`);
  say(parts.word, words.state(camera));
  say(parts.aside, aside(camera));
  say(parts.text, camera.text);
}

/** What else is to be known: how late scores are, how much was dropped, how far a file is. */
function aside({ live, at, delay, dropped }) {
  const told = [];
  if (!live && at != null) told.push(`at ${words.place(at)}`);
  if (live && delay >= 2) told.push(`${words.length(delay)} late`);
  if (dropped) told.push(`${dropped} dropped`);
  return told.join(", ");
}

/** The line: steps, of each second the highest score, broken where there are none. */
function draw({ camera, parts }) {
  const { scores, live } = camera;
  const end = live ? words.now() : Math.max(SPAN, scores.at(-1)?.[0] ?? 0);
  const begin = end - SPAN;
  let d = "";
  let pen = -1; // where the line has got to
  for (let i = 0; i < scores.length; ) {
    const second = Math.floor(scores[i][0]);
    let high = 0;
    for (; i < scores.length && Math.floor(scores[i][0]) === second; i++) high = Math.max(high, scores[i][1]);
    const [x, y] = [(second - begin).toFixed(1), (100 - 100 * high).toFixed(1)];
    const until = i < scores.length && scores[i][0] - second <= gap ? Math.floor(scores[i][0]) : second + 1;
    if (until <= begin) continue;
    d += pen === second ? `V${y}` : `M${x} ${y}`;
    d += `H${(until - begin).toFixed(1)}`;
    pen = until;
  }
  parts.path.setAttribute("d", d);
  parts.limit.setAttribute("visibility", threshold == null ? "hidden" : "visible");
  for (const name of ["y1", "y2"]) parts.limit.setAttribute(name, 100 - 100 * (threshold ?? 0));
  const bound = threshold == null ? "" : `, threshold ${words.number(threshold)}`;
  parts.line.setAttribute("aria-label", `Score of five minutes: now ${words.number(camera.score)}${bound}`);
}

/** Above the threshold the lines have another colour: one gradient for all. */
function setInk() {
  const [top, above, below] = document.querySelectorAll("#ink stop");
  top.setAttribute("offset", 0);
  for (const stop of [above, below]) stop.setAttribute("offset", threshold == null ? 0 : 1 - threshold);
}

function fetchPicture(card) {
  const { camera, parts } = card;
  if (!camera.picture) return pictured(card, "no picture yet");
  const due = card.asked + EVERY <= performance.now();
  if (card.loading || !due || card.picture === camera.picture || document.hidden) return;
  card.loading = true;
  card.asked = performance.now();
  card.picture = camera.picture;
  parts.img.src = `/cameras/${camera.id}.jpg?${camera.picture}`;
}

function pictured(card, said) {
  card.loading = false;
  card.parts.img.hidden = Boolean(said);
  say(card.parts.none, said);
}

filter.addEventListener("input", arrange);
document.addEventListener("visibilitychange", paint);
setInterval(() => performance.now() - painted > 900 && paint(), 1000); // lines move on, pictures come due
