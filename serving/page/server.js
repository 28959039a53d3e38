// All talk with the server: questions, and its events, which are followed for as long as the page is open.

const TRY_AGAIN = 2000; // ms, after a lost connection
const SILENT = 30000; // ms without any event, after which the connection is made anew: one that is dead looks like this
const CONNECTING = 10000; // ms that the server has to take a connection
const UNSEEN = 60000; // ms between two questions of a tab that is hidden
const EVENTS = ["cameras", "alarms", "list", "trouble", "stopping"];

/** The answer to a question (GET), or to what is sent (POST, as JSON). Throws an Error whose message is for people. */
export async function ask(path, sent) {
  const post = sent && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) };
  const answer = await fetch(path, { ...post, signal: AbortSignal.timeout(20000) }).catch(({ name }) => {
    throw new Error(name === "TimeoutError" ? "the watch has not answered for 20 s" : "the watch does not answer");
  });
  if (answer.status === 401) {
    location.assign("/login");
    throw new Error("a token is needed");
  }
  const got = await answer.json().catch(({ message }) => {
    throw new Error(`${path}: status ${answer.status}, ${message}`);
  });
  if (!answer.ok) throw new Error(got.error ?? `${path}: status ${answer.status}`);
  return got;
}

/**
 * Follow the events. Once a connection stands, `fresh(all)` fetches everything (or the cameras alone), and `take(name, data)`
 * gets each event; none is lost between the two. `tell(null)`: all is current; `tell({since, why, ended})`: it is not.
 */
export function follow({ fresh, take, tell }) {
  let source, timer;
  let heard; // when something came last, ms
  let since = null; // when the connection was lost, s
  let ended = false; // the watch has said so
  let fetching = 0;
  let waiting = []; // events that came while everything is being fetched

  function connect() {
    clearTimeout(timer);
    source?.close();
    const mine = (source = new EventSource("/events"));
    heard = Date.now();
    mine.onopen = () => refresh(mine, true);
    mine.onerror = () => lost(mine.readyState === EventSource.CLOSED ? "the watch refuses" : "");
    for (const name of EVENTS) {
      mine.addEventListener(name, ({ data }) => {
        heard = Date.now();
        if (name === "list") refresh(mine, JSON.parse(data).alarms);
        else if (name === "trouble") lost(JSON.parse(data).error);
        else if (fetching) waiting.push([name, JSON.parse(data)]);
        else receive(name, JSON.parse(data));
      });
    }
  }

  async function refresh(mine, all) {
    fetching += 1;
    try {
      await fresh(all);
      if (mine !== source) return;
      heard = Date.now();
      if (!ended || all) {
        since = null;
        ended = false;
        tell(null);
      }
    } catch (error) {
      if (mine === source) lost(error.message);
    } finally {
      fetching -= 1;
      if (!fetching) for (const [name, data] of waiting.splice(0)) receive(name, data);
    }
  }

  function receive(name, data) {
    if (name !== "stopping") return take(name, data);
    ended = true;
    since = Date.now() / 1000;
    tell({ since, ended, why: "" });
  }

  function lost(why) {
    source.close();
    clearTimeout(timer);
    since ??= heard / 1000;
    tell({ since, ended, why });
    timer = setTimeout(connect, TRY_AGAIN);
    // a connection of events does not say why it was refused; a question does, and goes to the login where that is it
    ask("/api/alarms?open=1").catch((error) => since !== null && tell({ since, ended, why: error.message }));
  }

  setInterval(() => {
    const silent = Date.now() - heard;
    if (source.readyState === EventSource.CONNECTING && silent > CONNECTING) lost("it does not answer");
    else if (source.readyState === EventSource.OPEN && silent > SILENT) connect();
  }, 2000);
  // browsers have six connections to a server: a tab that nobody looks at gives its own up, and asks now and then
  let asking;
  function heed() {
    clearInterval(asking);
    if (document.hidden) asking = setInterval(look, UNSEEN);
    else if (source.readyState === EventSource.CLOSED) connect();
  }
  function look() {
    source.close();
    clearTimeout(timer);
    refresh(source, true);
  }
  // a page that is left may be kept for coming back, and would keep its connection: browsers have six to a server
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", ({ persisted }) => persisted && connect());
  document.addEventListener("visibilitychange", heed);
  connect();
  heed();
}
