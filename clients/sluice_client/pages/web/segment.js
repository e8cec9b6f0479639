// The page of `segment`: hide and highlight classes, order images by them.
const of = (card) => data.images[card.dataset.place];
const root = document.documentElement;
const layers = (place) => document.querySelectorAll(`[data-class="${place}"]`);

$("strength").oninput = (event) => root.style.setProperty("--strength", event.target.value / 100);
root.style.setProperty("--strength", $("strength").value / 100);

for (const button of document.querySelectorAll(".classes button")) {
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    press(button, on);
    for (const one of layers(button.value)) one.classList.toggle("off", !on);
  };
}

// The class under the pointer, or with the keyboard's focus, stands out in its picture.
function light(event, on) {
  const row = event.target.closest?.("li[data-class]");
  if (!row) return;
  const card = row.closest(".card");
  card.classList.toggle("lit", on);
  for (const one of card.querySelectorAll(`.layer[data-class="${row.dataset.class}"]`)) one.classList.toggle("on", on);
}
for (const [begin, end] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
  grid.addEventListener(begin, (event) => light(event, true));
  grid.addEventListener(end, (event) => light(event, false));
}

const value = (card, what) => {
  const wanted = data.classes.indexOf($("label").value);
  const shares = of(card).shares.filter((one) => wanted < 0 || one.place === wanted);
  return -Math.max(0, ...shares.map((one) => one[what]));
};
const keys = {
  rank: () => [],
  area: (card) => [value(card, "area")],
  score: (card) => [value(card, "score")],
  id: (card) => [of(card).id],
};
function arrange() {
  const wanted = data.classes.indexOf($("label").value);
  place(keys[$("order").value], (card) => wanted >= 0 && !of(card).shares.some((one) => one.place === wanted));
}
options("label", data.images.flatMap((one) => one.shares.map((share) => data.classes[share.place])));
$("order").onchange = arrange;
$("label").onchange = arrange;
copies((card) => of(card).id);
root.dataset.ready = "yes";
