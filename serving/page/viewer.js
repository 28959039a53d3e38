// One alarm, large: its clip, or its picture while there is no clip.

import * as alarms from "./alarms.js";
import * as words from "./words.js";

const dialog = document.querySelector("#viewer");
const find = (part) => dialog.querySelector(part);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let alarm = null;

export const current = () => (dialog.open ? alarm : null);

/** Open the dialog with an alarm, or show another in it. */
export function view(shown) {
  alarm = shown;
  say("");
  write();
  if (!dialog.open) dialog.showModal();
}

/** The alarm so many places further down in the list. */
export function step(by) {
  const shown = alarms.shown();
  const next = shown[shown.findIndex(({ id }) => id === alarm.id) + by];
  if (next) view(next);
}

function write() {
  find("#viewer-title").textContent = alarm.name;
  find(".facts").textContent = `${alarms.facts(alarm)} · score ${words.number(alarm.score)}`;
  find(".acknowledge").textContent = alarm.acknowledged ? "Acknowledged ✓" : "Acknowledge";
  find(".acknowledge").setAttribute("aria-pressed", Boolean(alarm.acknowledged));
  find(".save").hidden = !alarm.clip;
  find(".save").href = `/clips/${alarm.id}.mp4`;
  const shown = alarms.shown();
  const at = shown.findIndex(({ id }) => id === alarm.id);
  for (const button of dialog.querySelectorAll(".step")) button.disabled = at < 0 || !shown[at + Number(button.dataset.by)];
  showScreen();
}

/** The clip, or the picture; what is there already is not begun anew. */
function showScreen() {
  const screen = find(".screen");
  const src = alarm.clip ? `/clips/${alarm.id}.mp4` : alarm.picture ? `/pictures/${alarm.id}.jpg` : "";
  if (screen.dataset.src === src && src) return;
  screen.dataset.src = src;
  if (!src) return screen.replaceChildren("There is no picture of this alarm.");
  const media = document.createElement(alarm.clip ? "video" : "img");
  const failed = alarm.clip ? "This browser cannot play the clip; it can be saved." : "Its picture cannot be loaded.";
  media.onerror = () => say(failed);
  if (alarm.clip) {
    Object.assign(media, { controls: true, loop: true, muted: true, playsInline: true, autoplay: !calm.matches });
    if (alarm.picture) media.poster = `/pictures/${alarm.id}.jpg`;
  } else {
    media.alt = `Picture of the alarm of ${alarm.name}`;
  }
  media.src = src;
  screen.replaceChildren(media);
}

const say = (text) => (find(".error").textContent = text);

async function acknowledge() {
  try {
    say("");
    await alarms.acknowledge(alarm);
  } catch (problem) {
    say(`not saved: ${problem.message}`);
  }
}

export const press = () => find(".acknowledge").click();
export const close = () => dialog.close();

find(".acknowledge").addEventListener("click", acknowledge);
for (const button of dialog.querySelectorAll(".step")) button.addEventListener("click", () => step(Number(button.dataset.by)));
document.addEventListener("view", ({ detail }) => view(detail));
alarms.onChange((changed) => {
  if (!dialog.open) return;
  if (changed?.id === alarm.id) alarm = changed;
  write();
});
dialog.addEventListener("close", () => {
  find(".screen").replaceChildren(); // ends the download, too
  find(".screen").dataset.src = "";
  if (alarms.has(alarm.id) && !document.querySelector("dialog[open]")) alarms.focus(alarm.id); // j and k have moved on
});
