// The page of `retrieve` and `match`: heat maps, and the order of the results.
const of = (card) => data.matches[card.dataset.place];

const map = (card) => card.querySelector(".heat:not([hidden])");

// query: number of the query whose heat map to show; without it, the map that is chosen.
function heat(card, on, query = map(card)?.dataset.of) {
  card.classList.toggle("hot", on);
  for (const one of card.querySelectorAll(".heat")) one.hidden = one.dataset.of !== query;
  for (const button of card.querySelectorAll("[data-do=heat]")) press(button, on && button.dataset.of === query);
}

function allHeat(on) {
  press($("heat-all"), on);
  for (const card of cards) heat(card, on);
}

$("heat-all").onclick = () => allHeat(!pressed("heat-all"));
$("strength").oninput = (event) => document.documentElement.style.setProperty("--strength", event.target.value / 100);
key("h", "heat-all");

grid.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  const button = event.target.closest("[data-do=heat]");
  if (!card || !(button || event.target.closest(".picture"))) return;
  const chosen = map(card)?.dataset.of, wanted = button ? button.dataset.of : chosen;
  heat(card, wanted !== chosen || !card.classList.contains("hot"), wanted);
});

const keys = {
  rank: () => [],
  time: (match) => [match.frame?.time ?? Infinity],
  drive: (match) => [match.frame?.drive ?? "", match.frame?.time ?? Infinity],
  id: (match) => [match.id],
};

function arrange() {
  const drive = $("drive").value;
  place((card) => keys[$("order").value](of(card)), (card) => drive !== "" && of(card).frame?.drive !== drive);
}

options("drive", data.matches.map((match) => match.frame?.drive ?? ""));
$("order").onchange = arrange;
$("drive").onchange = arrange;
copies((card) => of(card).id);

if (location.hash === "#heat") allHeat(true);
document.documentElement.dataset.ready = "yes";
