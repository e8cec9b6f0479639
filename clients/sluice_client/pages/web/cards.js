"use strict";
// Cards can be ordered, hidden and enlarged, and their ids copied.
// Errors are kept in data-errors of the root element, where tests look for them.
addEventListener("error", (event) => {
  const root = document.documentElement.dataset;
  root.errors = (root.errors ? root.errors + " | " : "") + (event.message || "cannot load " + (event.target.alt || "a part"));
}, true);

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const grid = $("results");
const cards = [...grid.querySelectorAll(".card")];

function press(button, on) { button.setAttribute("aria-pressed", String(on)); }
const pressed = (id) => $(id).getAttribute("aria-pressed") === "true";

function allBoxes(on) {
  press($("boxes-all"), on);
  document.body.classList.toggle("no-boxes", !on);
}
$("boxes-all").onclick = () => allBoxes(!pressed("boxes-all"));

// Each button shows the letter that presses it.
function key(letter, id) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === letter) $(id).click();
  });
}
key("b", "boxes-all");

grid.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do=wide]");
  if (button) press(button, button.closest(".card").classList.toggle("wide"));
});

function options(select, values) {
  for (const value of [...new Set(values)].sort()) if (value) $(select).add(new Option(value, value));
  if ($(select).length < 3) $(select).parentElement.hidden = true;
}

function compare(a, b) {
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

// Order the cards by a list of values of each, and hide those for which `hide` is true.
function place(values, hide) {
  cards.sort((a, b) => compare(values(a), values(b)) || a.dataset.place - b.dataset.place);
  for (const card of cards) {
    card.hidden = hide(card);
    grid.append(card);
  }
  const shown = cards.filter((card) => !card.hidden).length;
  $("shown").textContent = shown === cards.length ? "" : `${shown} of ${cards.length}`;
}

function copies(id) {
  $("copy").onclick = async () => {
    const text = cards.filter((card) => !card.hidden).map(id).join("\n");
    await copyText(text);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy ids"; }, 1200);
  };
}
