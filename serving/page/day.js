// A day of a camera at #day/ID/2026-11-28 (#day/ID: today), or a whole file: highest scores, alarms, when it was down.

import * as alarms from "./alarms.js";
import { cameraOf, limit } from "./cameras.js";
import { ask } from "./server.js";
import * as words from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;
const AGAIN = 5000; // ms between two questions about a day that goes on, at least
const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200]; // seconds between ticks
const KEPT = 86400; // seconds that the scores of live cameras are kept
const LABEL = 46; // pixels that a tick's label takes

const dialog = document.querySelector("#day");
const find = (part) => dialog.querySelector(part);
const plot = find(".plot");
const picker = find("input");
let shown = null; // {hash, id, day: Date | null}: what is asked for
let span = null; // what the server answered
let due; // the next question's timer

/** Follow the address: open the day that it names, or close the dialog. */
export function route() {
  const [hash, id, named] = location.hash.match(/^#day\/(\w+)(?:\/(\d{4}-\d\d-\d\d))?$/) ?? [];
  const date = named ?? (cameraOf(id)?.live ? words.iso(words.date(words.now())) : null);
  const day = date && new Date(`${date}T00:00`);
  if (!id || Number.isNaN(day?.getTime())) return dialog.close();
  if (dialog.open && shown.hash === hash) return fetchSpan();
  shown = { hash, id, day };
  span = null;
  if (!dialog.open) dialog.showModal();
  writeHead();
  draw();
  fetchSpan();
}

const end = ({ day }) => new Date(day.getFullYear(), day.getMonth(), day.getDate() + 1); // 23 or 25 hours later, twice a year
const seconds = (moment) => moment.getTime() / 1000;
const isLive = () => shown.day !== null;
const place = (at) => (isLive() ? words.clock(at) : words.place(at));

async function fetchSpan() {
  clearTimeout(due);
  due = null;
  const mine = shown;
  const query = new URLSearchParams({ camera: mine.id });
  if (mine.day) query.set("from", seconds(mine.day));
  if (mine.day) query.set("until", seconds(end(mine)));
  try {
    const answer = await ask(`/api/span?${query}`);
    if (mine !== shown) return;
    say("");
    span = answer;
    find(".name").textContent = span.name;
    draw();
    writeFacts();
  } catch (problem) {
    if (mine === shown) say(problem.message);
  }
}

const say = (text) => (find(".error").textContent = text);

function writeHead() {
  const { id, day } = shown;
  const name = cameraOf(id)?.name ?? `camera ${id}`;
  find(".name").textContent = name;
  find(".which").textContent = day ? words.fullDate(day) : "the whole file";
  for (const part of ["input", ".before", ".after"]) find(part).hidden = !day;
  find(".facts").textContent = "…";
  find(".moments").replaceChildren();
  say("");
  if (!day) return;
  picker.value = words.iso(day);
  picker.max = words.iso(words.date(words.now()));
  const other = (by) => `#day/${id}/${words.iso(new Date(day.getFullYear(), day.getMonth(), day.getDate() + by))}`;
  find(".before").href = other(-1);
  find(".after").href = other(1);
  find(".after").hidden = end(shown) > words.date(words.now());
}

/** Everything that lies in time: `x` is where a moment is, in pixels. */
function draw() {
  for (const part of [".down", ".ticks", ".marks", ".hours"]) find(part).replaceChildren();
  for (const part of [".below", ".above"]) plot.querySelector(`path${part}`).setAttribute("d", "");
  const width = plot.clientWidth;
  const [begin, until] = span ? [span.from, span.until] : isLive() ? [seconds(shown.day), seconds(end(shown))] : [0, 0];
  if (!width || until <= begin) return;
  plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const x = (at) => ((at - begin) / (until - begin)) * width;
  drawTicks(begin, until, x, width);
  const bound = limit() ?? Infinity;
  const line = find(".threshold");
  line.setAttribute("visibility", limit() === null ? "hidden" : "visible");
  set(line, { x2: width, y1: HEIGHT * (1 - limit()), y2: HEIGHT * (1 - limit()) });
  if (!span) return;
  for (const [from, to] of span.down) {
    const right = x(Math.min(to ?? words.now(), until));
    add(".down", "rect", { x: x(from), width: Math.max(2, right - x(from)), y: 0, height: HEIGHT });
  }
  drawBars(x, width, bound);
  for (const alarm of span.alarms) drawMark(alarm, x);
  plot.setAttribute("aria-label", find(".facts").textContent);
}

const set = (node, attributes) => Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));

function add(part, kind, attributes) {
  const node = document.createElementNS(SVG, kind);
  set(node, attributes);
  return find(part).appendChild(node);
}

/** Bars, never thinner than a pixel: of all that lie in one, the highest. */
function drawBars(x, width, bound) {
  const highest = new Map(); // by its left pixel
  for (const [at, score] of span.scores) {
    const left = Math.floor(x(at));
    highest.set(left, Math.max(score, highest.get(left) ?? 0));
  }
  const wide = Math.max(1, Math.ceil((span.step / (span.until - span.from)) * width));
  const d = { below: "", above: "" };
  for (const [left, score] of highest) {
    const high = Math.max(0.5, score * HEIGHT);
    d[score >= bound ? "above" : "below"] += `M${left} ${HEIGHT}v${-high}h${wide}v${high}z`;
  }
  for (const part of ["below", "above"]) plot.querySelector(`path.${part}`).setAttribute("d", d[part]);
}

/** A triangle above the bars at the alarm's peak; filled while nobody has acknowledged it. */
function drawMark(alarm, x) {
  const at = x(isLive() ? alarm.wall_peak : alarm.peak);
  const mark = add(".marks", "path", { d: `M${at - 7} 1h14l-7 13z`, class: alarm.acknowledged ? "done" : "" });
  const title = document.createElementNS(SVG, "title");
  title.textContent = `${alarms.facts(alarm)}, score ${words.number(alarm.score)}`;
  mark.append(title);
  mark.onclick = () => open(alarm);
}

const open = (alarm) => document.dispatchEvent(new CustomEvent("view", { detail: alarm }));

function drawTicks(begin, until, x, width) {
  const step = STEPS.find((step) => (step / (until - begin)) * width >= LABEL && (!isLive() || step >= 3600)) ?? STEPS.at(-1);
  const places = [];
  if (isLive()) {
    const day = shown.day;
    for (let hour = 0; hour <= 24; hour += step / 3600) {
      places.push([seconds(new Date(day.getFullYear(), day.getMonth(), day.getDate(), hour)), String(hour).padStart(2, "0")]);
    }
  } else {
    for (let at = begin; at <= until; at += step) places.push([at, words.place(at)]);
  }
  for (const [at, text] of places) {
    add(".ticks", "line", { x1: x(at), x2: x(at), y1: 0, y2: HEIGHT });
    const label = document.createElement("span");
    label.textContent = text;
    label.style.left = `${(x(at) / width) * 100}%`;
    find(".hours").append(label);
  }
}

/** In words what the picture shows, and its alarms as a list for the keyboard. */
function writeFacts() {
  const highest = span.scores.reduce((best, point) => (point[1] > (best?.[1] ?? -1) ? point : best), null);
  const facts = [highest ? `highest score ${words.number(highest[1])} at ${place(highest[0])}` : "no scores"];
  if (isLive() && seconds(shown.day) < words.now() - KEPT) facts.push("scores are kept for a day");
  facts.push(span.alarms.length ? words.plural(span.alarms.length, "alarm") : "no alarms");
  const until = ([from, to]) => `${place(from)}–${to == null ? "now" : place(to)}`;
  if (span.down.length) facts.push(`down ${span.down.map(until).join(", ")}`);
  find(".facts").textContent = facts.join(" · ");
  plot.setAttribute("aria-label", facts.join(", "));
  const focused = [...find(".moments").children].findIndex((item) => item.contains(document.activeElement));
  find(".moments").replaceChildren(...span.alarms.map(moment));
  if (focused >= 0) find(".moments").children[focused]?.firstChild.focus();
}

function moment(alarm) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const start = isLive() ? alarm.wall_start : alarm.start;
  button.textContent = `${place(start)} · ${words.howLong(alarm)} · ${words.number(alarm.score)}`;
  button.classList.toggle("done", Boolean(alarm.acknowledged));
  button.onclick = () => open(alarm);
  item.append(button);
  return item;
}

/** The pointer reads the chart: where it is, and the score there. */
function read({ clientX }) {
  if (!span || span.until <= span.from) return;
  const { left, width } = plot.getBoundingClientRect();
  const at = span.from + ((clientX - left) / width) * (span.until - span.from);
  const reach = Math.max(span.step, (span.until - span.from) / width);
  const near = span.scores.filter(([begin]) => begin <= at && at < begin + reach).map(([, score]) => score);
  const down = span.down.some(([from, to]) => from <= at && at < (to ?? words.now()));
  find(".reading").value = `${place(at)}: ${near.length ? words.number(Math.max(...near)) : down ? "down" : "no score"}`;
  set(find(".pointer"), { x1: clientX - left, x2: clientX - left, y1: 0, y2: HEIGHT, visibility: "visible" });
}

function unread() {
  find(".reading").value = "";
  find(".pointer").setAttribute("visibility", "hidden");
}

/** These cameras have new scores: what is open and goes on is asked for again. */
export function changed(ids) {
  if (dialog.open && ids.includes(shown.id) && !(isLive() && seconds(end(shown)) < words.now())) again();
}

const again = () => (due ??= setTimeout(fetchSpan, AGAIN));

plot.addEventListener("pointermove", read);
plot.addEventListener("pointerleave", unread);
picker.addEventListener("change", () => picker.value && (location.hash = `#day/${shown.id}/${picker.value}`));
dialog.addEventListener("close", () => {
  clearTimeout(due);
  due = null;
  if (location.hash.startsWith("#day/")) history.replaceState(null, "", location.pathname);
});
dialog.addEventListener("keydown", ({ key, target }) => {
  const link = { ArrowLeft: ".before", ArrowRight: ".after" }[key];
  if (link && target !== picker && !find(link).hidden) find(link).click();
});
new ResizeObserver(() => requestAnimationFrame(() => dialog.open && draw())).observe(plot);
alarms.onChange((alarm) => dialog.open && alarm?.camera === shown.id && again());
