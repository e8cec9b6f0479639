"use strict";
// A test looks for this: what went wrong in the page, if anything did.
addEventListener("error", (event) => {
  const root = document.documentElement.dataset;
  root.errors = (root.errors ? root.errors + " | " : "") + (event.message || "cannot load " + (event.target.alt || "a part"));
}, true);

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const grid = $("results");
const cards = [...grid.querySelectorAll(".card")];

function press(button, on) { button.setAttribute("aria-pressed", String(on)); }

function heat(card, on) {
  card.classList.toggle("hot", on);
  const button = card.querySelector("[data-do=heat]");
  if (button) press(button, on);
}

function allHeat(on) {
  press($("heat-all"), on);
  for (const card of cards) heat(card, on);
}

function allBoxes(on) {
  press($("boxes-all"), on);
  document.body.classList.toggle("no-boxes", !on);
}

const pressed = (id) => $(id).getAttribute("aria-pressed") === "true";
$("heat-all").onclick = () => allHeat(!pressed("heat-all"));
$("boxes-all").onclick = () => allBoxes(!pressed("boxes-all"));
$("strength").oninput = (event) => document.documentElement.style.setProperty("--strength", event.target.value / 100);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  if (event.key === "h") $("heat-all").click();
  if (event.key === "b") $("boxes-all").click();
});

grid.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (!card) return;
  const action = event.target.closest("[data-do]")?.dataset.do || (event.target.closest(".picture") ? "heat" : "");
  if (action === "heat") heat(card, !card.classList.contains("hot"));
  if (action === "wide") press(event.target.closest("button"), card.classList.toggle("wide"));
});

// Which cards are shown, and in which order.
const of = (card) => data.matches[card.dataset.place];
for (const drive of [...new Set(data.matches.map((match) => match.frame?.drive ?? ""))].sort()) {
  if (drive) $("drive").add(new Option(drive, drive));
}
if ($("drive").length < 3) $("drive").parentElement.hidden = true;

const keys = {
  rank: () => [],
  time: (match) => [match.frame?.time ?? Infinity],
  drive: (match) => [match.frame?.drive ?? "", match.frame?.time ?? Infinity],
  id: (match) => [match.id],
};

function compare(a, b) {
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

function arrange() {
  const key = keys[$("order").value];
  const drive = $("drive").value;
  cards.sort((a, b) => compare(key(of(a)), key(of(b))) || a.dataset.place - b.dataset.place);
  for (const card of cards) {
    card.hidden = drive !== "" && of(card).frame?.drive !== drive;
    grid.append(card);
  }
  const shown = cards.filter((card) => !card.hidden).length;
  $("shown").textContent = shown === cards.length ? "" : `${shown} of ${cards.length}`;
}

$("order").onchange = arrange;
$("drive").onchange = arrange;

$("copy").onclick = async () => {
  const text = cards.filter((card) => !card.hidden).map((card) => of(card).id).join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages opened from a disk may not use the clipboard in every browser.
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy ids"; }, 1200);
};

if (location.hash === "#heat") allHeat(true);
document.documentElement.dataset.ready = "yes";
