// The page as a whole: it joins the server's events to cameras, alarms and the day's view; title, banner, keys.

import * as alarms from "./alarms.js";
import * as cameras from "./cameras.js";
import * as day from "./day.js";
import { ask, follow } from "./server.js";
import * as viewer from "./viewer.js";
import * as words from "./words.js";

const banner = document.querySelector("#banner");
const help = document.querySelector("#help");
const icon = document.querySelector("link[rel=icon]");

async function fetchAll(everything) {
  const [answer] = await Promise.all([ask("/api/cameras"), everything && alarms.fetchAll()]);
  words.set(answer.now);
  cameras.put(answer);
  alarms.offer(cameras.all());
  if (everything) day.route();
}

const takers = {
  cameras(changes) {
    cameras.change(changes);
    day.changed(changes.map(({ id }) => id));
  },
  alarms: alarms.take,
};

/** Whether what the page shows is current; where not, since when, and what happens now. */
function tell(lost) {
  banner.hidden = !lost;
  document.body.classList.toggle("lost", Boolean(lost));
  if (!lost) return;
  const since = words.minute(lost.since);
  const why = lost.why && ` (${lost.why})`;
  const text = lost.ended
    ? `The watch has ended, at ${since}. What you see is how it was then; it goes on here when the watch is started again.`
    : `No connection since ${since}, trying again${why}. What you see is how it was then.`;
  if (banner.textContent !== text) banner.textContent = text;
}

/** How many alarms nobody has acknowledged: in the title, the icon, and beside the heading. */
function count() {
  const open = alarms.openCount();
  document.title = `${open === "0" ? "" : `(${open}) `}LSHMA watch`;
  const href = `/page/icon${open === "0" ? "" : open.length > 1 ? "-more" : `-${open}`}.svg`; // drawn ones need data: addresses
  if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  document.querySelector("#open-count").textContent = open === "0" ? "" : `${open} unacknowledged`;
  document.querySelector("nav .open").textContent = open === "0" ? "" : open;
}

/** On a narrow screen one of the two is shown. */
function show(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", button.dataset.show === view);
  cameras.paint();
}

/** The alarm that keys are about: the one shown large, in focus, or the newest. */
const current = () => viewer.current() ?? alarms.focused() ?? alarms.shown()[0];

function stepAlarm(by) {
  if (viewer.current()) return viewer.step(by);
  show("alarms");
  const shown = alarms.shown();
  const at = shown.indexOf(alarms.focused());
  const next = at < 0 ? shown[0] : shown[at + by];
  if (next) alarms.focus(next.id);
}

const keys = {
  "?": () => help.showModal(),
  "/": () => {
    show("cameras");
    document.querySelector("#filter").focus();
  },
  j: () => stepAlarm(1),
  k: () => stepAlarm(-1),
  a: () => (viewer.current() ? document.querySelector("#viewer .acknowledge").click() : alarms.press(current()?.id)),
  n: () => {
    const alarm = current();
    if (viewer.current()) document.querySelector("#viewer").close();
    show("alarms");
    if (alarm) alarms.focusNote(alarm.id);
  },
  d: () => {
    const card = document.activeElement.closest(".card");
    const alarm = current();
    if (card) card.querySelector("a.name").click();
    else if (alarm) location.hash = alarms.dayOf(alarm);
  },
};

addEventListener("keydown", (event) => {
  const action = keys[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const dialog = event.target.closest("dialog") ?? [...document.querySelectorAll("dialog[open]")].at(-1);
  if (dialog && dialog.id !== "viewer") return; // keys are about what lies below it
  event.preventDefault();
  action();
});

document.querySelector("#keys").addEventListener("click", keys["?"]);
for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => show(button.dataset.show));
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}
addEventListener("hashchange", day.route);
alarms.onChange(count);
follow({ fresh: fetchAll, take: (name, data) => takers[name](data), tell });
