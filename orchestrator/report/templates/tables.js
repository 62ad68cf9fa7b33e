// Long tables: a click on a title sorts, a field filters. Without scripts they are plain tables.
"use strict";
const LONG = 8;

// The first number of a cell as it is written: "≈ −0.69", "+1.2", "1,234"; nothing for a dash.
function number(cell) {
  const found = cell.textContent.replaceAll("−", "-").replaceAll(",", "").match(/[-+]?\d+(\.\d+)?/);
  return found ? parseFloat(found[0]) : -Infinity;
}

function sort(table, place, down) {
  const titles = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const numeric = titles[place].classList.contains("n"), way = down ? -1 : 1;
  const compared = numeric
    ? (a, b) => number(a.cells[place]) - number(b.cells[place])
    : (a, b) => a.cells[place].textContent.localeCompare(b.cells[place].textContent);
  body.append(...[...body.rows].sort((a, b) => way * compared(a, b)));
  titles.forEach((title, one) => title.setAttribute("aria-sort", one !== place ? "none" : down ? "descending" : "ascending"));
}

for (const table of document.querySelectorAll(".scroll > table")) {
  if (!table.tHead || table.tBodies[0].rows.length < LONG) continue;
  const titles = [...table.tHead.rows[0].cells], tools = document.createElement("p");
  const filter = document.createElement("input"), order = document.createElement("select"), left = document.createElement("span");
  tools.className = "tools";
  filter.type = "search";
  filter.placeholder = "filter";
  filter.setAttribute("aria-label", "rows that contain");
  order.setAttribute("aria-label", "sort by");
  order.append(new Option("sort by ...", ""));
  titles.forEach((title, place) => {
    const down = title.classList.contains("n");
    order.append(new Option(title.textContent.trim(), place));
    title.tabIndex = 0;
    title.classList.add("sorts");
    const turn = () => sort(table, place, title.getAttribute("aria-sort") === (down ? "descending" : "ascending") ? !down : down);
    title.addEventListener("click", turn);
    title.addEventListener("keydown", (event) => { if (event.key === "Enter") turn(); });
  });
  order.addEventListener("change", () => {
    if (order.value) sort(table, Number(order.value), titles[order.value].classList.contains("n"));
  });
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      count += row.hidden ? 0 : 1;
    }
    left.textContent = wanted ? `${count} of ${table.tBodies[0].rows.length} rows` : "";
  });
  tools.append(filter, order, left);
  table.parentElement.before(tools);
}
