// What the waiter's and the cook's pages share: signing in, calling operations, and looking again.

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
  at("sign-out").addEventListener("click", () => {
    sessionStorage.removeItem(role);
    location.reload();
  });
  show();
}

/** Call an operation as whoever signed in as `role`: a GET, or a POST of `body`. Throws an Error to show to people. */
export async function call(role, path, body) {
  const session = read(role);
  if (session === null) throw new Error("Nobody is signed in.");
  try {
    return await send(session.token, path, body);
  } catch (error) {
    if (error.status === 401) {
      sessionStorage.removeItem(role);
      location.reload();
    }
    throw error;
  }
}

async function send(token, path, body) {
  const headers = { accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: JSON.stringify(body) });
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail || problem.title || answer.statusText), { status: answer.status });
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

// TO BE REPLACED by live queries, which push each change: until then we look again every two seconds.
const LOOK_MS = 2000;

/** `look()` and `show()` what it found: now, again and again while the page can be seen, and when asked. */
export function keepFresh(look, show) {
  let asked = 0;
  let answered = 0;
  let isStale = false;
  const refresh = async () => {
    const mine = ++asked;
    try {
      const found = await look();
      // What was overtaken by a later look is old news.
      if (mine === asked) show(found);
      if (isStale) tell("");
      isStale = false;
    } catch (error) {
      isStale = true;
      tell(`This page is not up to date: ${error.message}`, true);
    } finally {
      answered += 1;
    }
  };
  // Where the server is slow, asking it again before it has answered makes it slower.
  const lookAgain = () => document.visibilityState === "visible" && asked === answered && refresh();
  setInterval(lookAgain, LOOK_MS);
  document.addEventListener("visibilitychange", lookAgain);
  refresh();
  return refresh;
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
