"""Style sheet and script of the attention pages, as text that every page contains."""

STYLE = """
:root { --ink: #1d2430; --soft: #5d6878; --line: #d9dee6; --paper: #fbfbf9; --hot: #d1495b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaee; --soft: #a3adbb; --line: #39414d; --paper: #14171c; --hot: #ff8c9a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 8px 0 4px; }
h2 { font-size: 21px; margin: 40px 0 6px; border-top: 1px solid var(--line); padding-top: 22px; }
.lead, .note { color: var(--soft); max-width: 70ch; }
.note { font-size: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 14px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .text td { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: 14px; }
td.best { font-weight: 700; }
.gallery { display: grid; gap: 22px; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
.panel { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.image { position: relative; background: #8883; }
.image img { display: block; width: 100%; }
.image svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.box rect { fill: none; stroke: #fff; stroke-opacity: .45; stroke-width: 1;
  vector-effect: non-scaling-stroke; }
.attending .box rect { stroke-opacity: 0; }
.attending .box.on rect { stroke: #ffb000; stroke-opacity: 1; stroke-width: 2.5; fill: #ffb000; }
figcaption { padding: 10px 14px 6px; font-size: 15px; }
figcaption p { margin: 4px 0; }
.label { color: var(--soft); font-size: 13px; display: inline-block; min-width: 5.2em; }
.remark { color: var(--soft); font-size: 13px; }
.word { cursor: pointer; border-bottom: 2px dotted var(--line); }
.word:hover, .word:focus { outline: none; background: #ffb00040; border-color: #ffb000; }
.attended { min-height: 1.5em; color: var(--soft); font-size: 13px; }
code { background: #8882; padding: 1px 5px; border-radius: 4px; }
"""

SCRIPT = """
'use strict';
function clear(figure) {
  figure.classList.remove('attending');
  figure.querySelectorAll('.box.on').forEach(box => {
    box.classList.remove('on');
    box.firstElementChild.style.fillOpacity = '';
    box.firstElementChild.style.strokeOpacity = '';
  });
  figure.querySelector('.attended').textContent = '\\u00a0';
}
function show(word) {
  const figure = word.closest('.panel');
  clear(figure);
  figure.classList.add('attending');
  const names = JSON.parse(figure.dataset.names), parts = [];
  const weights = Object.entries(JSON.parse(word.dataset.weights)).sort((a, b) => b[1] - a[1]);
  for (const [n, weight] of weights) {
    const box = figure.querySelector('.box[data-n="' + n + '"]');
    box.classList.add('on');
    box.firstElementChild.style.fillOpacity = (0.3 * weight).toFixed(3);
    box.firstElementChild.style.strokeOpacity = Math.min(1, 0.15 + weight).toFixed(3);
    if (parts.length < 3) parts.push(names[n] + ' ' + Math.round(100 * weight) + ' %');
  }
  const text = word.textContent + ': ' + parts.join(', ');
  figure.querySelector('.attended').textContent = word.dataset.diffuse ? text + ' (no single region)' : text;
}
document.querySelectorAll('.word').forEach(word => {
  word.addEventListener('mouseenter', () => show(word));
  word.addEventListener('focus', () => show(word));
  word.addEventListener('click', () => show(word));
  word.addEventListener('mouseleave', () => clear(word.closest('.panel')));
  word.addEventListener('blur', () => clear(word.closest('.panel')));
});
"""
