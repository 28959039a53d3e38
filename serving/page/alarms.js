// The alarms, newest first: filtered, acknowledged and noted here; how many are open, for the title.

import { ask } from "./server.js";
import * as words from "./words.js";

const MOST = 200; // that the list keeps by itself, while ever more come

const list = document.querySelector("#list");
const form = document.querySelector("#asking");
const template = document.querySelector("#alarm");
const more = document.querySelector("#more");
const error = document.querySelector("#alarms-error");
const items = new Map(); // what the list shows, by alarm's id
const open = new Set(); // ids of those that nobody has acknowledged
let openElse = 0; // how many more of them there are than the server told of at once
let seen = null; // the highest number; what is above it is new
let asked = 0; // which question is the last one
let older = 0; // how many were asked for beyond those that came by themselves
const watchers = [];

/** Call `watcher(alarm)` whenever one has come or changed, and `watcher()` where all were fetched anew. */
export const onChange = (watcher) => watchers.push(watcher);
export const openCount = () => `${open.size + openElse}`;
export const has = (id) => items.has(id);

/** The alarms in the list, newest first. */
export const shown = () => [...list.children].map(({ alarm }) => alarm);

/** The question that the filter asks, as the server takes it. */
function question() {
  const { camera, since, until, open: openAlone } = form.elements;
  const query = new URLSearchParams();
  if (camera.value) query.set("camera", camera.value);
  for (const { name, value } of [since, until]) if (value) query.set(name, new Date(value).getTime() / 1000);
  if (openAlone.checked) query.set("open", 1);
  return query;
}

function fits(alarm) {
  const query = question();
  const wall = alarm.wall_start ?? alarm.raised_at;
  const end = alarm.wall_end ?? (alarm.end == null ? Infinity : wall);
  return (
    (!query.has("camera") || query.get("camera") === alarm.camera) &&
    (!query.has("since") || end >= query.get("since")) &&
    (!query.has("until") || wall <= query.get("until")) &&
    !(query.has("open") && alarm.acknowledged)
  );
}

/** The newest that fit the filter, so many at least. */
async function fetchNewest(count) {
  const query = question();
  const newest = await ask(`/api/alarms?${query}`);
  while (newest.more && newest.alarms.length < count) {
    query.set("before", newest.alarms.at(-1).number);
    const { alarms, more } = await ask(`/api/alarms?${query}`);
    newest.alarms.push(...alarms);
    newest.more = more;
  }
  return newest;
}

/** Fetch the newest that fit the filter, as many as are shown, and which are open. Throws what the server answers. */
export async function fetchAll(count = items.size) {
  const mine = ++asked;
  const known = seen; // what comes while this is answered, the answer may not have
  const [answer, unanswered] = await Promise.all([fetchNewest(count), ask("/api/alarms?open=1")]);
  if (mine !== asked) return;
  open.clear();
  for (const { id } of unanswered.alarms) open.add(id);
  openElse = unanswered.open - open.size;
  const kept = new Set(answer.alarms.map(({ id }) => id));
  for (const [id, { alarm, writing }] of items) {
    const since = known !== null && alarm.number > known && fits(alarm);
    if (!kept.has(id) && !writing && !since) remove(id);
  }
  answer.alarms.forEach(put);
  if (seen !== null) announce(unanswered.alarms); // those that came while there was no connection
  seen = Math.max(seen, ...[...answer.alarms, ...unanswered.alarms].map(({ number }) => number));
  finish(answer.more);
  for (const watcher of watchers) watcher();
}

/** Fetch so many at least, and say here what went wrong. */
async function refetch(count) {
  if (!count) older = 0;
  try {
    error.textContent = "";
    await fetchAll(count);
  } catch (problem) {
    error.textContent = problem.message;
  }
}

async function fetchOlder() {
  const query = question();
  query.set("before", shown().at(-1).number);
  more.disabled = true;
  try {
    error.textContent = "";
    const mine = asked;
    const answer = await ask(`/api/alarms?${query}`);
    if (mine !== asked) return; // the filter has changed
    answer.alarms.forEach(put);
    older += answer.alarms.length;
    finish(answer.more);
  } catch (problem) {
    error.textContent = problem.message;
  } finally {
    more.disabled = false;
  }
}

function finish(isMore) {
  more.hidden = !isMore;
  const empty = document.querySelector("#no-alarms");
  empty.hidden = items.size > 0;
  empty.textContent = question().size ? "No alarm fits the filter." : "No alarm yet.";
  const narrowed = question().size > 0;
  document.querySelector("#asked > summary").textContent = narrowed ? "Filter (on)" : "Filter";
}

/** Alarms that are new or have changed, as events tell them. */
export function take(alarms) {
  announce(alarms);
  const unsure = openElse && alarms.some(({ id, number }) => number <= seen && !open.has(id)); // was it one of those?
  for (const alarm of alarms) {
    if (alarm.acknowledged) open.delete(alarm.id);
    else open.add(alarm.id);
    seen = Math.max(seen, alarm.number);
    const last = list.lastElementChild?.alarm.number ?? -1;
    if (!fits(alarm)) leave(alarm);
    else if (items.has(alarm.id) || more.hidden || alarm.number > last) put(alarm);
    for (const watcher of watchers) watcher(alarm);
  }
  finish(letGo() || !more.hidden);
  if (unsure || (openElse && open.size < 50)) refetch(items.size); // the server knows
}

/** Of a list that has grown too long, the oldest go; returns whether one did. */
function letGo() {
  const gone = [...items.values()].filter(({ writing, node }) => !writing && !node.contains(document.activeElement));
  gone.sort((a, b) => a.alarm.number - b.alarm.number).length = Math.max(0, Math.min(gone.length, items.size - MOST - older));
  for (const { alarm } of gone) remove(alarm.id);
  return gone.length > 0;
}

/** Say, to who listens instead of looking, which of them are new. */
function announce(alarms) {
  const fresh = alarms.filter(({ number, acknowledged }) => number > seen && !acknowledged);
  if (!fresh.length) return;
  const newest = fresh.reduce((a, b) => (a.number > b.number ? a : b));
  const said = `${newest.name}, ${words.when(newest)}, score ${words.number(newest.score)}`;
  const many = fresh.length > 1 ? `${fresh.length} new alarms; the newest` : "Alarm";
  document.querySelector("#said").textContent = `${many}: ${said}`;
}

/** One that no longer fits goes, with the focus to the next; while a note is written on it, it stays. */
function leave(alarm) {
  const item = items.get(alarm.id);
  if (!item) return;
  if (item.writing) return put(alarm);
  const { node } = item;
  const next = node.contains(document.activeElement) && (node.nextElementSibling ?? node.previousElementSibling);
  remove(alarm.id);
  if (next) focus(next.alarm.id);
}

function remove(id) {
  items.get(id).node.remove();
  items.delete(id);
}

function put(alarm) {
  const item = items.get(alarm.id) ?? added(alarm);
  item.alarm = item.node.alarm = alarm;
  write(item);
}

function added(alarm) {
  const node = template.content.cloneNode(true).firstElementChild;
  const item = { node, alarm, writing: false, began: alarm.note };
  const find = (part) => node.querySelector(part);
  item.parts = { img: find("img"), button: find(".acknowledge") };
  for (const part of ["open", "name", "score", "facts", "note", "day", "saved"]) item.parts[part] = find(`.${part}`);
  items.set(alarm.id, item);
  const after = [...list.children].find((other) => other.alarm.number < alarm.number);
  list.insertBefore(node, after ?? null);
  item.parts.open.onclick = () => document.dispatchEvent(new CustomEvent("view", { detail: item.alarm }));
  item.parts.button.onclick = () => attempt(item, acknowledge(item.alarm), "");
  item.parts.img.onerror = () => (item.parts.open.dataset.none = "no picture");
  writes(item);
  return item;
}

function write(item) {
  const { node, alarm, parts } = item;
  node.classList.toggle("done", Boolean(alarm.acknowledged));
  node.classList.toggle("lasts", alarm.end == null);
  parts.name.textContent = parts.name.title = alarm.name;
  parts.score.textContent = words.number(alarm.score);
  parts.facts.textContent = facts(alarm);
  parts.button.textContent = alarm.acknowledged ? "Acknowledged ✓" : "Acknowledge";
  parts.button.title = alarm.acknowledged ? `acknowledged ${words.moment(alarm.acknowledged)}; takes it back (a)` : "(a)";
  parts.button.setAttribute("aria-pressed", Boolean(alarm.acknowledged));
  parts.note.setAttribute("aria-label", `Note on the alarm of ${alarm.name}, ${words.when(alarm)}`);
  const does = alarm.clip ? "Play the clip" : "Show the picture";
  parts.open.setAttribute("aria-label", `${does} of ${alarm.name}, ${facts(alarm)}`);
  parts.open.classList.toggle("clip", alarm.clip);
  parts.day.href = dayOf(alarm);
  const src = `/pictures/${alarm.id}.jpg?${alarm.peak}`; // another one where the alarm has risen
  parts.img.hidden = !alarm.picture;
  if (alarm.picture && parts.img.getAttribute("src") !== src) parts.img.src = src;
  if (!alarm.picture) parts.open.dataset.none = "no picture";
  if (!item.writing) parts.note.value = alarm.note;
  else warn(item);
}

/** The alarm's day, or its whole file, as the address of that view. */
export const dayOf = ({ camera, live, wall_start }) =>
  live ? `#day/${camera}/${words.iso(words.date(wall_start))}` : `#day/${camera}`;

export const facts = (alarm) => `${words.when(alarm)} · ${words.howLong(alarm)}`;

/** Send what has changed of an alarm. Throws what the server answers. */
export async function save({ id }, sent) {
  take([await ask(`/api/alarms/${id}`, sent)]);
}

export const acknowledge = (alarm) => save(alarm, { acknowledged: !alarm.acknowledged });

/** Save, and say beside the buttons that it is, or why not; returns whether it is. */
async function attempt({ parts: { saved } }, saving, done) {
  saved.classList.remove("error");
  saved.textContent = "…";
  try {
    await saving;
    saved.textContent = done;
    return true;
  } catch (problem) {
    saved.classList.add("error");
    saved.textContent = `not saved: ${problem.message}`;
    return false;
  }
}

/** A note: Enter or leaving saves it, Esc leaves it as it was. What is not saved stays, to be tried again. */
function writes(item) {
  const { note, open } = item.parts;
  note.onfocus = () => {
    if (!item.writing) item.began = item.alarm.note;
    item.writing = true;
  };
  note.onkeydown = (event) => {
    if (event.isComposing || !(event.key === "Escape" || (event.key === "Enter" && !event.shiftKey))) return;
    event.preventDefault();
    if (event.key === "Escape") note.value = item.alarm.note;
    open.focus(); // leaving saves
  };
  note.onblur = async () => {
    const text = note.value;
    const saved = text === item.alarm.note || (await attempt(item, save(item.alarm, { note: text }), "saved"));
    item.writing = !saved || document.activeElement === note;
  };
}

/** Somebody else has written a note while one is being written here: saving would replace it. */
function warn({ alarm, parts, began }) {
  if (alarm.note === began || alarm.note === parts.note.value) return;
  parts.saved.textContent = `meanwhile somebody else noted “${alarm.note}”; yours replaces it`;
}

/** Acknowledge the alarm of a key press: the same as its button. */
export const press = (id) => items.get(id)?.parts.button.click();

/** Put the focus on an alarm of the list. */
export function focus(id) {
  const { node, parts } = items.get(id);
  parts.open.focus({ preventScroll: true });
  node.scrollIntoView({ block: "nearest" });
}

export const focusNote = (id) => items.get(id)?.parts.note.focus();

/** The alarm in which the focus is. */
export const focused = () => document.activeElement.closest("#list > li")?.alarm;

/** Let the filter offer these cameras. */
export function offer(cameras) {
  const { camera } = form.elements;
  const { value } = camera;
  camera.replaceChildren(new Option("all", ""), ...cameras.map(({ name, id }) => new Option(name, id)));
  camera.value = cameras.some(({ id }) => id === value) ? value : "";
}

form.addEventListener("change", () => refetch(0));
form.addEventListener("reset", () => setTimeout(refetch, 0, 0)); // after the fields are
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", fetchOlder);
addEventListener("beforeunload", (event) => {
  if ([...items.values()].some(({ alarm, parts }) => parts.note.value !== alarm.note)) event.preventDefault(); // not saved yet
});
