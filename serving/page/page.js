// The page as a whole: it joins the server's events to cameras, alarms and the day's view; title, banner, keys.

import * as alarms from "./alarms.js";
import * as cameras from "./cameras.js";
import * as day from "./day.js";
import { ask, follow } from "./server.js";
import * as viewer from "./viewer.js";
import * as words from "./words.js";

const banner = document.querySelector("#banner");
const help = document.querySelector("#help");
const views = document.querySelectorAll("nav button");
const icon = document.querySelector("link[rel=icon]");
const calm = icon.getAttribute("href"); // the icon while no alarm is open

async function fetchAll(everything) {
  const [answer] = await Promise.all([ask("/api/cameras"), everything && alarms.fetchAll()]);
  words.set(answer.now);
  cameras.put(answer);
  alarms.offer([...cameras.all(), ...answer.gone]);
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
    ? `The watch has ended, at ${since}. What you see is how it was then; started again, it goes on here.`
    : `No connection since ${since}, trying again${why}. What you see is how it was then.`;
  if (banner.textContent !== text) banner.textContent = text;
}

/** How many alarms nobody has acknowledged: in the title, the icon, and beside the heading. */
function count() {
  const open = alarms.openCount();
  document.title = `${open === "0" ? "" : `(${open}) `}LSHMA watch`;
  const href = open === "0" ? calm : badge(open.length > 1 ? "9+" : open);
  if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  document.querySelector("#open-count").textContent = open === "0" ? "" : `${open} unacknowledged`;
  document.querySelector("nav .open").textContent = open === "0" ? "" : open;
}

/** The icon of open alarms: their number. */
function badge(text) {
  const how = `text-anchor="middle" font-family="sans-serif" font-weight="bold" font-size="${text.length > 1 ? 19 : 25}"`;
  const drawn = `<rect width="32" height="32" rx="7" fill="#d55e00"/><text x="16" y="24.5" ${how}>${text}</text>`;
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${drawn}</svg>`)}`;
}

/** On a narrow screen one of the two is shown. */
function show(view) {
  document.body.dataset.view = view;
  for (const button of views) button.setAttribute("aria-pressed", button.dataset.show === view);
  cameras.paint();
}

function stepAlarm(by) {
  if (viewer.current()) return viewer.step(by);
  show("alarms");
  const shown = alarms.shown();
  const at = shown.indexOf(alarms.focused());
  const next = at < 0 ? shown[0] : shown[at + by];
  if (next) alarms.focus(next.id);
}

/** Do something with the alarm that is shown large or in focus; where none is, the newest comes into focus, and no more. */
function onAlarm(action) {
  const alarm = viewer.current() ?? alarms.focused();
  if (alarm) action(alarm);
  else stepAlarm(0);
}

const keys = {
  "?": () => help.showModal(),
  "/": () => {
    show("cameras");
    document.querySelector("#filter").focus();
  },
  j: () => stepAlarm(1),
  k: () => stepAlarm(-1),
  a: () => (viewer.current() ? viewer.press() : onAlarm(({ id }) => alarms.press(id))),
  n: () =>
    onAlarm(({ id }) => {
      viewer.close();
      show("alarms");
      alarms.focusNote(id);
    }),
  d: () => {
    const card = document.activeElement.closest(".card");
    if (card) card.querySelector("a.name").click();
    else onAlarm((alarm) => (location.hash = alarms.dayOf(alarm)));
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
for (const button of views) button.addEventListener("click", () => show(button.dataset.show));
for (const kind of ["error", "unhandledrejection"]) {
  addEventListener(kind, ({ message, reason }) => {
    document.querySelector("#broken").textContent = `This page has failed: ${message ?? reason}`;
  });
}
const top = document.querySelector("#top");
const setTop = () => document.documentElement.style.setProperty("--top", `${top.getBoundingClientRect().height}px`);
new ResizeObserver(() => requestAnimationFrame(setTop)).observe(top); // at once, it may resize what it observes: an error
addEventListener("hashchange", day.route);
alarms.onChange(count);
follow({ fresh: fetchAll, take: (name, data) => takers[name](data), tell });
