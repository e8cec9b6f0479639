"use strict";
// Boxes drawn over a picture become the --roi options of a command.
// Errors are kept in data-errors of the root element, where tests look for them.
addEventListener("error", (event) => {
  const root = document.documentElement.dataset;
  root.errors = (root.errors ? root.errors + " | " : "") + (event.message || "cannot load a part");
}, true);

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const stage = $("stage");
const svg = stage.querySelector("svg");
const boxes = [];  // [x0, y0, x1, y1], pixels of the picture
const LEAST = 2;   // pixels per side that the server accepts
let from = null, drawn = null;

const clamp = (value, most) => Math.min(Math.max(value, 0), most);

function at(event) {
  const frame = stage.getBoundingClientRect();
  return [clamp(((event.clientX - frame.left) / frame.width) * data.width, data.width),
    clamp(((event.clientY - frame.top) / frame.height) * data.height, data.height)];
}

const box = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])].map(Math.round);
const large = ([x0, y0, x1, y1]) => x1 - x0 >= LEAST && y1 - y0 >= LEAST;

function rectangle([x0, y0, x1, y1]) {
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const set = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
  for (const [name, value] of Object.entries(set)) rect.setAttribute(name, value);
  if (!large([x0, y0, x1, y1])) rect.classList.add("small");
  return rect;
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'");

function show() {
  svg.replaceChildren(...boxes.map(rectangle), ...(drawn ? [rectangle(drawn)] : []));
  const shown = drawn && large(drawn) ? [...boxes, drawn] : boxes;
  const rois = shown.flatMap((one) => ["--roi", one.join(",")]);
  $("command").textContent = shown.length ? [...data.command.map(quoted), ...rois].join(" ") : "No region yet: draw one.";
  $("copy").disabled = $("undo").disabled = !shown.length;
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  stage.setPointerCapture(event.pointerId);
  from = at(event);
  drawn = box(from, from);
  $("told").textContent = "";
  show();
});
stage.addEventListener("pointermove", (event) => {
  if (!from) return;
  drawn = box(from, at(event));
  show();
});
stage.addEventListener("pointerup", () => {
  if (!from) return;
  if (large(drawn)) boxes.push(drawn);
  else $("told").textContent = `A region needs at least ${LEAST} x ${LEAST} pixels.`;
  from = drawn = null;
  show();
});
stage.addEventListener("pointercancel", () => { from = drawn = null; show(); });

function undo() { boxes.pop(); show(); }
$("undo").onclick = undo;
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && from) { from = drawn = null; show(); }
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
});

$("copy").onclick = async () => {
  await copyText($("command").textContent);
  $("told").textContent = "Copied.";
};
show();
