// The waiter's page: choose a table and dishes, send them to the kitchen, see how far each order is.

import { call, euros, fill, follow, tell, tried, work } from "./staff.js";

const form = document.getElementById("order");
const quantities = [...form.querySelectorAll("[data-dish]")];

form.addEventListener("click", ({ target }) => {
  if (!target.dataset.step) return;
  const quantity = target.parentElement.querySelector("input");
  target.dataset.step > 0 ? quantity.stepUp() : quantity.stepDown();
  showSum();
});
form.addEventListener("input", showSum);
form.addEventListener("reset", () => setTimeout(showSum));

const chosen = () => quantities.filter((quantity) => quantity.value > 0);

function showSum() {
  const count = chosen().reduce((sum, { value }) => sum + Number(value), 0);
  // In cents: binary fractions do not add up.
  const cents = chosen().reduce((sum, { value, dataset }) => sum + value * Math.round(dataset.price * 100), 0);
  document.getElementById("sum").textContent = count ? `Dishes: ${count} · ${euros(cents / 100)}` : "Nothing chosen yet";
  for (const quantity of quantities) quantity.closest(".dish").classList.toggle("chosen", quantity.value > 0);
}

let waiting = new Set();

function showOrders(orders) {
  const ready = orders.filter(({ id, status }) => status === "ready" && waiting.has(id));
  if (ready.length) tell(ready.map(({ id, table }) => `Order ${id} for table ${table} is ready.`).join(" "));
  waiting = new Set(orders.filter(({ status }) => status !== "ready").map(({ id }) => id));
  document.getElementById("none").hidden = orders.length > 0;
  document.getElementById("orders").replaceChildren(...orders.map(row));
}

function row(order) {
  const element = fill("order-row", {
    table: `Table ${order.table}`,
    status: order.status,
    items: `No. ${order.id}: ${order.items.map(({ quantity, name }) => `${quantity} × ${name}`).join(", ")}`,
    total: euros(order.total),
  });
  element.dataset.status = order.status;
  return element;
}

work("waiter", () => {
  showSum();
  follow("waiter", "/orders", showOrders);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const items = chosen().map(({ value, dataset }) => ({ dish_id: Number(dataset.dish), quantity: Number(value) }));
    if (!items.length) return tell("Choose a dish first.", true);
    const order = await tried(() => call("waiter", "/orders", { table: Number(form.elements.table.value), items }));
    if (!order) return;
    form.reset();
    tell(`Order ${order.id} for table ${order.table} is in the kitchen.`);
  });
});
