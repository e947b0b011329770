// Parse every formula of the built book and its notebooks with MathJax: node tests/check_tex.js book/_build/html
// A formula that does not parse is otherwise shown in red and passes every build. Needs mathjax-full.
const fs = require("fs");
const path = require("path");
const { mathjax } = require("mathjax-full/js/mathjax.js");
const { TeX } = require("mathjax-full/js/input/tex.js");
const { liteAdaptor } = require("mathjax-full/js/adaptors/liteAdaptor.js");
const { RegisterHTMLHandler } = require("mathjax-full/js/handlers/html.js");
const { AllPackages } = require("mathjax-full/js/input/tex/AllPackages.js");

RegisterHTMLHandler(liteAdaptor());
const entities = { lt: "<", gt: ">", amp: "&", quot: '"', "#39": "'", "#x27": "'" };
const decode = (text) => text.replace(/&(#?\w+);/g, (all, name) => entities[name] ?? all);
const packages = AllPackages.filter((name) => name !== "bussproofs" && name !== "noundefined");
let formulas = 0, faults = 0;

function parse(file, tex, macros, display) {
  const input = new TeX({ packages, macros, formatError: (_, error) => { throw error; } });
  formulas += 1;
  try {
    mathjax.document("", { InputJax: input }).convert(tex, { display });
  } catch (error) {
    faults += 1;
    console.log(`${file}: ${error.message}: ${tex.trim()}`);
  }
}

for (const file of fs.readdirSync(process.argv[2]).filter((name) => name.endsWith(".html"))) {
  const html = fs.readFileSync(path.join(process.argv[2], file), "utf8");
  const macros = JSON.parse((html.match(/window\.MathJax = (\{.*\})<\/script>/) ?? [, "{}"])[1]).tex?.macros ?? {};
  const found = [...html.matchAll(/class="(?:amsmath )?math notranslate nohighlight[^>]*>([\s\S]*?)<\/(?:span|div)>/g)];
  const there = (html.match(/class="(?:amsmath )?math notranslate/g) ?? []).length;
  if (found.length !== there) {
    faults += 1;
    console.log(`${file}: ${there} formulas, of which ${found.length} were read`);
  }
  for (const [, block] of found) {
    const source = decode(block.replace(/<span class="eqno">[\s\S]*/, "").replace(/<[^>]*>/g, "")).trim();
    parse(file, source.replace(/^\\[([]|\\[)\]]$/g, ""), macros, source.startsWith("\\["));
  }
}

const notebooks = path.join(process.argv[2], "notebooks");            // there without the book's macros
for (const file of fs.readdirSync(notebooks).filter((name) => name.endsWith(".ipynb"))) {
  const { cells } = JSON.parse(fs.readFileSync(path.join(notebooks, file), "utf8"));
  for (const cell of cells.filter((one) => one.cell_type === "markdown")) {
    const text = cell.source.join("").replace(/```[\s\S]*?```|`[^`]*`/g, "");
    for (const [, mark, tex] of text.matchAll(/(\$\$?)([\s\S]*?)\1/g)) parse(file, tex, {}, mark === "$$");
  }
}
console.log(`${formulas} formulas, ${faults} faults`);
process.exit(faults || formulas < 100 ? 1 : 0);
