// The page of `retrieve` and `match`: heat maps, and the order of the results.
const of = (card) => data.matches[card.dataset.place];

function heat(card, on) {
  card.classList.toggle("hot", on);
  const button = card.querySelector("[data-do=heat]");
  if (button) press(button, on);
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
  const heats = card && (event.target.closest("[data-do]")?.dataset.do === "heat" || event.target.closest(".picture"));
  if (heats) heat(card, !card.classList.contains("hot"));
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
