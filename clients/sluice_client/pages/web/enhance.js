"use strict";
for (const pair of document.querySelectorAll(".compared .pair")) {
  const slider = pair.querySelector("input");
  const move = () => pair.style.setProperty("--part", `${slider.value / 10}%`);
  slider.addEventListener("input", move);
  move();
}
