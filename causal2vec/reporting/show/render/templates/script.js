"use strict";
// Sorts every table by its headings and filters those that have controls. Without it the page is complete, but still.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });
  const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("group"));

  // A cell without a value is a gap; gaps stay last in either direction.
  function compare(left, right, sign) {
    if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
    const numbers = [Number(left), Number(right)];
    const both = left !== "" && right !== "" && numbers.every(Number.isFinite);
    return sign * (both ? numbers[0] - numbers[1] : collator.compare(left, right));
  }

  function sort(table, column, direction) {
    const sign = direction === "descending" ? -1 : 1;
    for (const body of table.tBodies) {
      const rows = rowsOf(body);
      rows.sort((a, b) => {
        const found = direction === "none"
          ? 0 : compare(a.cells[column].dataset.value, b.cells[column].dataset.value, sign);
        return found || Number(a.dataset.position) - Number(b.dataset.position);
      });
      body.append(...rows);
    }
  }

  function makeSortable(table) {
    for (const body of table.tBodies) rowsOf(body).forEach((row, number) => { row.dataset.position = number; });
    const heads = [...table.querySelectorAll("th[data-column]")];
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.first;
        const second = first === "ascending" ? "descending" : "ascending";
        const next = { [first]: second, [second]: "none" }[head.getAttribute("aria-sort")] || first;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (next !== "none") head.setAttribute("aria-sort", next);
        sort(table, Number(head.dataset.column), next);
        const how = next === "none" ? "In the original order" : `Sorted by ${button.textContent}, ${next}`;
        const status = document.querySelector(`.controls[data-table="${table.id}"] .status`);
        if (status) status.textContent = `${how}.`;
      });
    }
  }

  function showColumns(table, hidden) {
    for (const head of table.querySelectorAll("th[data-column]")) head.hidden = hidden.has(head.dataset.column);
    for (const head of table.querySelectorAll("th[data-columns]")) {
      const left = head.dataset.columns.split(" ").filter((column) => !hidden.has(column)).length;
      head.hidden = left === 0;
      head.colSpan = Math.max(1, left);
    }
    const total = table.querySelectorAll("th[data-column]").length;
    for (const body of table.tBodies) {
      for (const row of body.rows) {
        if (row.classList.contains("group")) row.cells[0].colSpan = total - hidden.size;
        else [...row.cells].forEach((cell, column) => { cell.hidden = hidden.has(String(column)); });
      }
    }
  }

  function showRows(table, names, words) {
    let shown = 0;
    for (const body of table.tBodies) {
      const rows = rowsOf(body);
      for (const row of rows) {
        const labels = [...row.cells].filter((cell) => cell.classList.contains("label"));
        const text = labels.map((cell) => cell.textContent).join(" ").toLowerCase();
        row.hidden = !names.has(row.cells[0].dataset.value) || !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      body.hidden = left === 0;
      shown += left;
    }
    return shown;
  }

  function connect(controls) {
    const table = document.getElementById(controls.dataset.table);
    const search = controls.querySelector("input[type=search]");
    const rowBoxes = [...controls.querySelectorAll("input.row")];
    const columnBoxes = [...controls.querySelectorAll("input.column")];
    const total = [...table.tBodies].flatMap(rowsOf).length;
    const apply = () => {
      const names = new Set(rowBoxes.filter((box) => box.checked).map((box) => box.value));
      const hidden = new Set(columnBoxes.filter((box) => !box.checked).map((box) => box.value));
      const shown = showRows(table, names, search.value.toLowerCase().split(/\s+/));
      showColumns(table, hidden);
      const columns = `${columnBoxes.length - hidden.size} of ${columnBoxes.length} columns`;
      controls.querySelector(".status").textContent = `${shown} of ${total} rows, ${columns} shown.`;
    };
    controls.addEventListener("input", apply);
    controls.querySelector(".reset").addEventListener("click", () => {
      search.value = "";
      [...rowBoxes, ...columnBoxes].forEach((box) => { box.checked = true; });
      apply();
    });
    controls.hidden = false;
    apply(); // A browser may have kept the boxes of an earlier visit.
  }

  document.querySelectorAll("table[id]").forEach(makeSortable);
  document.querySelectorAll(".controls").forEach(connect);
  // On a phone the contents would fill the first screen.
  if (window.matchMedia("(max-width: 60rem)").matches) {
    document.querySelectorAll(".contents details").forEach((details) => { details.open = false; });
  }
})();
