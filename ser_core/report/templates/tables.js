"use strict";
// Tables with the class "sortable": a click on a column's head sorts; data-filter adds a field that
// filters; data-shown shows the first rows until "Show all". Without scripts all rows are there.
(() => {
  const make = (tag, about, ...children) => {
    const element = Object.assign(document.createElement(tag), about);
    element.append(...children);
    return element;
  };

  function keyOf(cell) {
    if (!cell) return "";
    if (cell.dataset.key !== undefined) return cell.dataset.key;
    const data = cell.querySelector("data");
    return data ? data.value : cell.textContent.trim();
  }

  function compare(a, b) {
    // What is not known comes last, whichever way.
    if (a === "" || b === "") return null;
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
  }

  function prepare(table) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const most = Number(table.dataset.shown) || Infinity;
    let expanded = false, wanted = "";

    const more = make("button", { type: "button", className: "more" });
    const count = make("span", { className: "soft" });
    count.setAttribute("role", "status");

    function show() {
      let matching = 0;
      for (const row of body.rows) {
        const fits = !wanted || row.textContent.toLowerCase().includes(wanted);
        matching += fits;
        row.hidden = !fits || (!expanded && !wanted && matching > most);
      }
      more.hidden = wanted !== "" || body.rows.length <= most;
      more.textContent = expanded ? "Show the first " + most : "Show all " + body.rows.length;
      more.setAttribute("aria-expanded", String(expanded));
      count.textContent = wanted ? matching + " of " + body.rows.length : "";
    }

    function sort(index, descending) {
      const rows = [...body.rows].map((row) => [keyOf(row.cells[index]), row]);
      rows.sort(([a], [b]) => {
        const order = compare(a, b);
        if (order === null) return (a === "") - (b === "");
        return descending ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
      heads.forEach((head, i) => {
        if (i === index) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      show();
    }

    heads.forEach((head, index) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numbers = [...body.rows].some((row) => {
          const key = keyOf(row.cells[index]);
          return key !== "" && !Number.isNaN(Number(key));
        });
        const sorted = head.getAttribute("aria-sort");
        sort(index, sorted ? sorted === "ascending" : numbers);
      });
    });

    const place = table.closest(".wide") || table;
    if (table.dataset.filter) {
      const field = make("input", { type: "search", spellcheck: false });
      field.setAttribute("autocomplete", "off");
      field.addEventListener("input", () => { wanted = field.value.trim().toLowerCase(); show(); });
      place.before(make("div", { className: "tools" }, make("label", {}, table.dataset.filter + " ", field), count));
    }
    more.addEventListener("click", () => { expanded = !expanded; show(); });
    place.after(more);
    show();
  }

  document.querySelectorAll("table.sortable").forEach(prepare);
  // A table that is wider than the screen is scrolled with the keyboard, too.
  for (const wide of document.querySelectorAll(".wide")) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
  // Paper shows the first rows; a linked row is never hidden.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.hidden) target.hidden = false;
  };
  window.addEventListener("hashchange", open);
  open();
  // "/" goes to the first filter.
  document.addEventListener("keydown", (event) => {
    const field = document.querySelector(".tools input");
    if (event.key !== "/" || !field || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.focus();
  });
})();
