"use strict";
// A click on a heading sorts by that column; a second one the other way. Undefined stays last.
const table = document.querySelector("table.sortable");
const body = table.tBodies[0];
const headings = [...table.tHead.rows[0].cells];

function value(row, column) {
  const cell = row.cells[column];
  if (!("value" in cell.dataset)) return cell.textContent;
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compare(a, b) {
  if (typeof a === "number") return a - b;
  return a.localeCompare(b, undefined, { numeric: true });
}

headings.forEach((heading, column) => {
  heading.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].sort((one, other) => {
      const a = value(one, column);
      const b = value(other, column);
      if (a === null || b === null) return (a === null) - (b === null);
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
  });
});

const filter = document.querySelector(".filter input");
filter.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  for (const row of body.rows) {
    const name = row.cells[0].textContent + " " + row.cells[1].textContent;
    row.hidden = !name.toLowerCase().includes(wanted);
  }
});
