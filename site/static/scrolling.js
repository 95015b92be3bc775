// What scrolls inside its box has to be reached with the keyboard, too: once it is too wide, and only then.
function reachable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .formula, .cell_output .output, .sig")) {
    if (box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible") {
      box.tabIndex = 0;
    } else {
      box.removeAttribute("tabindex");
    }
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true);
