// Builds the page's script and style into the Python package, with the notices of the libraries and a digest of these sources.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.env.ATLAS_OUT ?? join(here, "..", "src", "lossatlas", "page", "static");
mkdirSync(out, { recursive: true });

const shared = { bundle: true, minify: true, format: "iife", target: "es2022", legalComments: "none", charset: "utf8", logLevel: "warning" };

const worker = {
  name: "worker-text",
  setup(on) {
    on.onResolve({ filter: /^worker-text$/ }, () => ({ path: "worker", namespace: "worker-text" }));
    on.onLoad({ filter: /.*/, namespace: "worker-text" }, async () => {
      const made = await build({ ...shared, entryPoints: [join(here, "src/walk/worker.ts")], write: false });
      return { contents: made.outputFiles[0].text, loader: "text" };
    });
  },
};

// Shaders are text: a minifier leaves them alone, and they are a fifth of the bundle.
const tight = (text) => {
  const out = [];
  for (const line of text.replace(/\/\*[\s\S]*?\*\//g, "").split("\n").map((one) => one.replace(/\/\/.*$/, "").trim()).filter(Boolean)) {
    if (line.startsWith("#")) out.push(line);
    else {
      const short = line.replace(/\s+/g, " ").replace(/ ?([=*/<>(),;{}?:&|!]) ?/g, "$1");
      if (out.length && !out[out.length - 1].startsWith("#")) out[out.length - 1] += (/\w$/.test(out[out.length - 1]) ? " " : "") + short;
      else out.push(short);
    }
  }
  return `\n${out.join("\n")}\n`;
};
// Headsets, environment maps and shadows are never used: three large parts become empty ones.
// Of the shaders only those of plain, Lambert and thick-line materials are used; parts that no define of theirs turns on are empty.
const UNUSED = new Set(["lights_physical_pars_fragment", "lights_physical_fragment", "shadowmap_pars_fragment", "shadowmap_vertex", "shadowmap_pars_vertex",
  "transmission_pars_fragment", "transmission_fragment", "iridescence_fragment", "envmap_physical_pars_fragment", "lightprobes_pars_fragment", "packing",
  "lights_phong_pars_fragment", "lights_toon_pars_fragment", "alphahash_pars_fragment", "batching_pars_vertex", "clipping_planes_fragment",
  "cube_uv_reflection_fragment", "bumpmap_pars_fragment"]);
const without = (text, ...pairs) => {
  for (let k = 0; k < pairs.length; k += 2) {
    text = pairs[k].startsWith("WebGL") ? text.replace(new RegExp(`^function ${pairs[k]}\\([^)]*\\) \\{[\\s\\S]*?^\\}`, "m"), `function ${pairs[k]}() { ${pairs[k + 1]} }`) : text.replace(new RegExp(`^class ${pairs[k]}( extends \\w+)? \\{[\\s\\S]*?^\\}`, "m"), (_, parent) => `class ${pairs[k]}${parent ?? ""} { ${pairs[k + 1]} }`);
  }
  return text;
};
const shaders = {
  name: "shaders",
  setup(on) {
    on.onLoad({ filter: /three[\\/](build[\\/]three\.module|examples[\\/]jsm[\\/]lines[\\/]LineMaterial)\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const contents = without(text, "WebXRManager", "enabled = false; isPresenting = false; cameraAutoUpdate = true; setAnimationLoop() {} getEnvironmentBlendMode() {} getDepthSensingMesh() { return null; } hasDepthSensing() { return false; } dispose() {}", "PMREMGenerator", "dispose() {}",
          "WebGLShadowMap", "this.enabled = this.needsUpdate = false; this.autoUpdate = true; this.type = 1; this.render = () => {};")
        .replace(/^((?:var|const) \w+(?:\$\w+)? = )("(?:[^"\\]|\\.)*");$/gm, (whole, head, literal) =>
          UNUSED.has(head.split(" ")[1]) ? `${head}"";` : /#include|void main|uniform |varying |vec[234]|#ifdef|#if /.test(literal) ? `${head}${JSON.stringify(tight(JSON.parse(literal)))};` : whole)
        .replace(/\/\* glsl \*\/\s*`([^`$]*)`/g, (_, glsl) => JSON.stringify(tight(glsl)));
      return { contents, loader: "js" };
    });
  },
};

const packages = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8")).packages;
const used = ["three", "d3-contour", "d3-array", "internmap"];
const line = used.map((name) => `${name} ${packages[`node_modules/${name}`]?.version}`).join(", ");

const made = await build({
  ...shared,
  entryPoints: [join(here, "src/main.ts")],
  outfile: join(out, "atlas.js"),
  plugins: [worker, shaders],
  metafile: true,
  banner: { js: `/* lossatlas explorer. Contains ${line}; their notices are in LICENSES.txt. */` },
});
await build({ ...shared, entryPoints: [join(here, "src/atlas.css")], outfile: join(out, "atlas.css") });

const bundled = new Set(Object.keys(made.metafile.inputs).map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]).filter(Boolean));
const notices = used.filter((name) => bundled.has(name)).map((name) => {
  const text = readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8").trim();
  return `${name} ${packages[`node_modules/${name}`].version}\n\n${text}\n`;
});
const missing = [...bundled].filter((name) => !used.includes(name));
if (missing.length) throw new Error(`no notice for ${missing.join(", ")}`);
writeFileSync(join(out, "LICENSES.txt"), `atlas.js contains the following libraries.\n\n${notices.join("\n----\n\n")}`);

const files = ["build.mjs", "package.json", "package-lock.json", "tsconfig.json"];
const add = (folder) => {
  for (const entry of readdirSync(join(here, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) add(path);
    else files.push(path);
  }
};
add("src");
const digest = createHash("sha256");
for (const path of files.map((one) => one.split(sep).join("/")).sort()) {
  digest.update(`${path}\0`);
  digest.update(readFileSync(join(here, relative(here, join(here, path)))));
  digest.update("\0");
}
writeFileSync(join(out, "DIGEST"), `${digest.digest("hex")}\n`);

const size = Object.values(made.metafile.outputs)[0].bytes;
console.log(`atlas.js: ${size.toLocaleString("en-US")} bytes`);
if (process.argv.includes("--sizes")) {
  const inputs = Object.entries(Object.values(made.metafile.outputs)[0].inputs).map(([name, { bytesInOutput }]) => [name, bytesInOutput]);
  inputs.sort((a, b) => b[1] - a[1]);
  const own = inputs.filter(([name]) => !name.includes("node_modules")).reduce((sum, [, bytes]) => sum + bytes, 0);
  console.log(inputs.slice(0, 25).map(([name, bytes]) => `${bytes} ${name}`).join("\n"), `\nown ${own}`);
}
