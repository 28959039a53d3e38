// How moments, lengths, scores and states are said: one way for the whole page. Times are seconds.

const part = (options) => new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...options });
const HOUR = part({ hour: "2-digit", minute: "2-digit" });
const CLOCK = part({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DATE = part({ weekday: "short", day: "numeric", month: "short" });
const FULL = part({ weekday: "long", day: "numeric", month: "long", year: "numeric" });

let ahead = 0; // how far the server's clock is before this machine's

/** The server says it is `wall`: from now on `now()` follows its clock. */
export function set(wall) {
  ahead = wall - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + ahead;
export const date = (wall) => new Date(wall * 1000);
export const fullDate = (day) => FULL.format(day);
export const number = (score) => (score == null ? "–" : score.toFixed(2));
export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** 2026-11-28, of a local day. */
export function iso(day) {
  const two = (value) => String(value).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

const dated = (wall, how) =>
  (iso(date(wall)) === iso(date(now())) ? "" : `${DATE.format(date(wall))}, `) + how.format(date(wall));

/** 14:03:12, with the date where it is not today. */
export const moment = (wall) => dated(wall, CLOCK);

/** 14:03:12 of any day. */
export const clock = (wall) => CLOCK.format(date(wall));

/** 14:03, with the date where it is not today. */
export const minute = (wall) => dated(wall, HOUR);

/** 1:05 or 1:02:05 in a file. */
export function place(seconds) {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
}

/** 3.2 s, 4 min 10 s, 2 h 5 min. */
export function length(seconds) {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}

/** When an alarm was: local time, or the place in its file. */
export const when = (alarm) => (alarm.live ? moment(alarm.wall_start) : `at ${place(alarm.start)}`);

/** How long an alarm was, or that it lasts. */
export const howLong = (alarm) => (alarm.end == null ? "lasts" : length(alarm.end - alarm.start));

/** "down since 14:03": what a camera does; the word alone of one that is not down. */
export const state = ({ state, since }) => (state === "down" && since != null ? `down since ${minute(since)}` : state);
