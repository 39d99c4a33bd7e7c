// What the waiter's and the cook's pages share: signing in, calling operations, and following them.

const at = (id) => document.getElementById(id);

/** Ask for a name if nobody has signed in as `role` in this window, then `begin()` the work. */
export function work(role, begin) {
  let hasBegun = false;
  const show = () => {
    const session = read(role);
    at("sign-in").hidden = session !== null;
    at("work").hidden = session === null;
    if (session === null) return at("name").focus();
    at("who").textContent = `${session.name}, ${role}`;
    if (!hasBegun) begin();
    hasBegun = true;
  };
  at("sign-in").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = at("name").value.trim();
    const { token } = await tried(() => send(null, "/sign-in", { name, role })) ?? {};
    if (token) sessionStorage.setItem(role, JSON.stringify({ name, token }));
    show();
  });
  at("sign-out").addEventListener("click", () => leave(role));
  show();
}

/** Call an operation as whoever signed in as `role`: a GET, or a POST of `body`. Throws an Error to show to people. */
export async function call(role, path, body) {
  const session = read(role);
  if (session === null) throw new Error("Nobody is signed in.");
  try {
    return await send(session.token, path, body);
  } catch (error) {
    if (error.status === 401) leave(role);
    throw error;
  }
}

function leave(role) {
  sessionStorage.removeItem(role);
  location.reload();
}

async function send(token, path, body) {
  const headers = { accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: JSON.stringify(body) });
  if (answer.ok) return answer.json();
  throw await failure(answer);
}

/** What an answer says that is none, as an Error to show to people. */
async function failure(answer) {
  const problem = await answer.json().catch(() => ({}));
  return Object.assign(new Error(problem.detail || problem.title || answer.statusText), { status: answer.status });
}

function read(role) {
  return JSON.parse(sessionStorage.getItem(role));
}

/** The result of `act`; null where it failed, which is then told. */
export async function tried(act) {
  try {
    return await act();
  } catch (error) {
    tell(error.message, true);
    return null;
  }
}

const NEWS_MS = 8000;
let oldNews;

/** Tell people who look at the screen, and those who hear it; after a while it is news no more. */
export function tell(text, isProblem = false) {
  at("news").classList.toggle("problem", isProblem);
  at("news").textContent = text;
  clearTimeout(oldNews);
  oldNews = setTimeout(() => at("news").replaceChildren(), NEWS_MS);
}

const RETRY_MS = 2000;

/** `show()` the answer at `path` as whoever signed in as `role`: now, and again whenever it changes. */
export async function follow(role, path, show) {
  let seen = null;
  let retry = RETRY_MS;
  let isStale = false;
  while (true) {
    try {
      // Not EventSource, which cannot send the token along.
      const body = await open(role, path, seen);
      if (isStale) tell("");
      isStale = false;
      for await (const event of events(body)) {
        retry = event.retry ?? retry;
        if (event.type === "end") throw new Error(JSON.parse(event.data).detail);
        if (event.data) show(JSON.parse(event.data));
        seen = event.id ?? seen;
      }
    } catch (error) {
      isStale = true;
      tell(`This page is not up to date: ${error.message}`, true);
    }
    await new Promise((done) => setTimeout(done, retry));
  }
}

async function open(role, path, seen) {
  const headers = { accept: "text/event-stream", authorization: `Bearer ${read(role)?.token}` };
  // What is on the page already is not sent again.
  if (seen) headers["last-event-id"] = seen;
  const answer = await fetch(path, { headers });
  if (answer.ok) return answer.body;
  if (answer.status === 401) leave(role);
  throw await failure(answer);
}

/** The events in a body, each with the fields that it has. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const blocks = (rest + chunk.value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield event(block);
  }
}

function event(block) {
  const fields = { type: "message" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    const name = line.slice(0, Math.max(at, 0));
    if (name) fields[name === "event" ? "type" : name] = line.slice(at + 2);
  }
  return fields;
}

/** A copy of the template `id`, each `data-field` of it filled with a text or with elements. */
export function fill(id, values) {
  return refill(at(id).content.firstElementChild.cloneNode(true), values);
}

/** `element`, its fields filled anew. */
export function refill(element, values) {
  for (const [name, value] of Object.entries(values)) {
    const field = element.querySelector(`[data-field="${name}"]`);
    Array.isArray(value) ? field.replaceChildren(...value) : (field.textContent = value);
  }
  return element;
}

const EUROS = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });

/** "€14.50" of 14.5 or "14.50". */
export const euros = (amount) => EUROS.format(amount);
