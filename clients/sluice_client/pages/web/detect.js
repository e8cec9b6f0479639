// The page of `detect` and `select`: order by an uncertainty, hide by class and score, sort the table.
const of = (card) => data.images[card.dataset.place];
const types = ["location_aleatoric", "location_epistemic", "class_aleatoric", "class_epistemic"];

// Sorts the largest first, and what has no value last.
const down = (value) => (value ?? null) === null ? Infinity : -value;
const keys = {
  rank: () => [],
  objects: (one) => [-one.objects],
  time: (one) => [one.time ?? Infinity],
  id: (one) => [one.id],
};
types.forEach((name, i) => { keys[name] = (one) => [down(one.maxima?.[i])]; });

// The objects of a card are ordered by the same uncertainty, so that the object which decides comes first.
function rows(card, type) {
  const list = card.querySelector(".objects");
  if (!list) return;
  const value = (row) => type < 0 ? [+row.dataset.object] : [down(parseFloat(row.dataset.values.split(" ")[type]) || 0)];
  list.append(...[...list.children].sort((a, b) => compare(value(a), value(b)) || a.dataset.object - b.dataset.object));
}

function arrange() {
  const [order, label, drive] = ["order", "label", "drive"].map((id) => $(id).value);
  const least = $("least").value / 100;
  $("least-value").textContent = least.toFixed(2);
  for (const card of cards) {
    rows(card, types.indexOf(order));
    const one = of(card);
    for (const part of card.querySelectorAll("[data-object]")) {
      const off = one.scores[part.dataset.object] < least || (label && one.names[part.dataset.object] !== label);
      part.classList.toggle("off", Boolean(off));
    }
  }
  place((card) => keys[order](of(card)), (card) => {
    const one = of(card);
    const wanted = (i) => one.scores[i] >= least && (!label || one.names[i] === label);
    return (drive && one.drive !== drive) || ((label || least > 0) && !one.scores.some((_, i) => wanted(i)));
  });
}

options("label", data.images.flatMap((one) => one.names));
options("drive", data.images.map((one) => one.drive));
for (const id of ["order", "label", "drive"]) $(id).onchange = arrange;
$("least").oninput = arrange;
copies((card) => of(card).id);

// A box, its bars and its row light up together.
function light(event, on) {
  const part = event.target.closest?.("[data-object]");
  if (!part) return;
  for (const one of part.closest(".card").querySelectorAll(`[data-object="${part.dataset.object}"]`)) one.classList.toggle("on", on);
}
grid.addEventListener("mouseover", (event) => light(event, true));
grid.addEventListener("mouseout", (event) => light(event, false));

// A click on a column sorts the table by it, numbers from the largest, texts from a to z; another click reverses it.
for (const table of document.querySelectorAll("details.table .scroll > table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.classList.add("sorts");
    button.onclick = () => {
      const numbers = head.classList.contains("n");
      const turned = head.ariaSort ? head.ariaSort === "descending" : !numbers;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turned ? "ascending" : "descending");
      const value = (row) => {
        const shown = row.cells[column].textContent;
        if (!numbers) return shown;
        const number = parseFloat(shown.replaceAll(",", ""));
        return Number.isNaN(number) ? (turned ? Infinity : -Infinity) : number;
      };
      const sign = turned ? 1 : -1;
      body.append(...[...body.rows].sort((a, b) => sign * compare([value(a)], [value(b)])));
    };
  });
}

if (location.hash.startsWith("#order=")) {
  $("order").value = location.hash.slice(7);
  arrange();
}
document.documentElement.dataset.ready = "yes";
