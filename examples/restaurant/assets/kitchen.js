// The kitchen's page: the rail of tickets, each moved on with one button.

import { call, fill, follow, refill, tell, tried, work } from "./staff.js";

const MOVES = {
  placed: { to: "cooking", label: "Start cooking" },
  cooking: { to: "ready", label: "Ready" },
  ready: { to: "served", label: "Served" },
};
const LATE_MIN = 20;
const MINUTE_MS = 60000;

const statuses = Object.keys(MOVES);
const rail = Object.fromEntries(statuses.map((status) => [status, document.querySelector(`ol[data-status=${status}]`)]));
const stations = document.getElementById("stations");
const tickets = new Map();
let shown = null;

const station = () => stations.querySelector(":checked").value;

/** Bring the rail up to date; a ticket stays the same element, so that focus and place are kept. */
function show(orders) {
  const fresh = orders.filter(({ id }) => !tickets.has(id));
  const open = new Set(orders.map(({ id }) => id));
  for (const [id, element] of tickets) if (!open.has(id)) remove(id, element);
  // The oldest hangs first.
  for (const order of orders) place(order);
  for (const [status, list] of Object.entries(rail)) {
    document.querySelector(`[data-count=${status}]`).textContent = list.querySelectorAll("li.ticket:not([hidden])").length;
  }
  if (shown && fresh.length) tell(fresh.map(({ id, table }) => `New: order ${id}, table ${table}.`).join(" "));
  shown = orders;
}

function place(order) {
  if (!tickets.has(order.id)) tickets.set(order.id, fill("ticket", { items: order.items.map(item) }));
  const element = tickets.get(order.id);
  const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(order.placed_at)) / MINUTE_MS));
  refill(element, {
    table: `Table ${order.table}`,
    number: `no. ${order.id}`,
    wait: minutes ? `${minutes} min` : "now",
    move: MOVES[order.status].label,
  });
  element.classList.toggle("late", minutes >= LATE_MIN);
  showStation(element);
  const button = element.querySelector("button");
  button.setAttribute("aria-label", `${MOVES[order.status].label}: order ${order.id}, table ${order.table}`);
  button.value = `${order.id} ${MOVES[order.status].to}`;
  hang(element, rail[order.status]);
}

/** Of what other stations make, a cook needs no more than to know; of an order without work for them, nothing. */
function showStation(element) {
  const items = [...element.querySelectorAll("li")];
  const isElsewhere = ({ dataset }) => station() !== "" && dataset.station !== station();
  for (const item of items) item.classList.toggle("elsewhere", isElsewhere(item));
  element.hidden = items.every(isElsewhere);
}

function hang(element, list) {
  if (element.parentElement === list) return;
  const hadFocus = element.contains(document.activeElement);
  const next = [...list.children].find((other) => number(other) > number(element));
  list.insertBefore(element, next ?? null);
  if (hadFocus) element.querySelector("button").focus();
}

const number = (element) => parseInt(element.querySelector("button").value, 10);

function remove(id, element) {
  const heading = element.closest("section").querySelector("h2");
  if (element.contains(document.activeElement)) heading.focus();
  element.remove();
  tickets.delete(id);
}

function item({ quantity, name, station }) {
  const element = fill("ticket-item", { quantity: `${quantity} ×`, name, station });
  element.dataset.station = station;
  return element;
}

work("cook", () => {
  follow("cook", "/orders/open", show);
  const showAgain = () => shown && show(shown);
  stations.addEventListener("change", showAgain);
  // Time passes though no order changes.
  setInterval(showAgain, MINUTE_MS);
  document.querySelector(".rail").addEventListener("click", async ({ target }) => {
    if (target.tagName !== "BUTTON") return;
    const [id, status] = target.value.split(" ");
    const order = await tried(() => call("cook", `/orders/${id}/status`, { status }));
    if (order) tell(`Order ${order.id}, table ${order.table}: ${order.status}.`);
  });
});
