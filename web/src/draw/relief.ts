/** The relief: the page's one WebGL picture. It shows the map's ground, levels, paths, start and cursor, and draws only when something changed. */

import {
  BufferAttribute, BufferGeometry, DirectionalLight, DoubleSide, HemisphereLight, LineBasicMaterial, LineSegments, Mesh,
  MeshBasicMaterial, MeshLambertMaterial, PerspectiveCamera, Raycaster, Scene as World, SphereGeometry, Vector2, Vector3, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { h } from "../core/dom";
import type { Ground } from "./ground";
import { surface, TALL } from "./mesh";
import { Ribbons } from "./ribbons";
import type { DrawnPath } from "./marks";

export interface Shown { paths: readonly DrawnPath[]; start: readonly [number, number] | null; cursor: readonly [number, number] | null; fog: boolean; dots: readonly { x: number; y: number; color: string; fade: number }[]; dark: boolean; contours: boolean; line: readonly number[] | null }
export const SENTENCE = "No 3-D here: this browser gives no WebGL. The map shows the same field.";
export const CAMERAS: [string, number, number][] = [["top", -90, 90], ["south", -90, 30], ["south-west", -130, 35], ["south-east", -50, 35], ["north-east", 50, 35], ["low", -60, 12]];

export class Relief {
  readonly element: HTMLElement;
  available = false;
  onCamera: (az: [number, number, number]) => void = () => {};
  onHover: (at: [number, number] | null) => void = () => {};
  onTap: (x: number, y: number) => void = () => {};
  private renderer!: WebGLRenderer;
  private readonly world = new World();
  private readonly camera = new PerspectiveCamera(28, 1, 0.05, 30);
  private controls!: OrbitControls;
  private mesh: Mesh | null = null;
  private lines: LineSegments | null = null;
  private readonly ribbons = new Ribbons();
  private readonly beads: Mesh[] = [];
  private readonly ball = new Mesh(new SphereGeometry(0.014, 16, 12), new MeshBasicMaterial({ color: 0xffffff }));
  private readonly pin = new Mesh(new SphereGeometry(0.011, 16, 12), new MeshBasicMaterial({ color: 0xd6008f }));
  private ground: Ground | null = null;
  private made = "";
  private queued = false;

  private opened = false;
  private wanted: [number, number, number] = [-60, 38, 1];

  constructor(private readonly label: string) {
    this.element = h("div", { class: "relief" });
  }

  /** Asks for WebGL: late, so that the map is there first. */
  open(): void {
    if (this.opened) return;
    this.opened = true;
    const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": this.label });
    try {
      // Asked for here, because three writes errors to the console where there is none.
      const context = canvas.getContext("webgl2", { antialias: true, alpha: true });
      if (!context) return this.refuse();
      this.renderer = new WebGLRenderer({ canvas, context, antialias: true, alpha: true });
    } catch {
      return this.refuse();
    }
    this.available = true;
    this.element.append(canvas);
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio || 1));
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.refuse(); });
    this.camera.up.set(0, 0, 1);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.enableDamping = false;
    this.controls.minDistance = 0.6;
    this.controls.maxDistance = 6;
    this.controls.maxPolarAngle = Math.PI / 2;
    this.controls.target.set(0, 0, 0.2);
    this.controls.addEventListener("change", () => { this.refresh(); });
    this.controls.addEventListener("end", () => this.onCamera(this.angles()));
    const sun = new DirectionalLight(0xffffff, 1.7);
    sun.position.set(-1.2, -0.8, 2.2);
    this.world.add(new HemisphereLight(0xffffff, 0x777788, 1.6), sun, this.ball, this.pin, this.ribbons.group);
    this.pointer(canvas);
    new ResizeObserver(() => { this.size(); this.refresh(); }).observe(this.element);
    this.look(this.wanted);
  }

  private refuse(): void {
    this.available = false;
    this.element.replaceChildren(h("p", { class: "sentence" }, SENTENCE));
  }

  private pointer(canvas: HTMLCanvasElement): void {
    let from: [number, number] | null = null;
    canvas.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; });
    canvas.addEventListener("pointermove", (e) => { if (!e.buttons) this.onHover(this.under(e)); });
    canvas.addEventListener("pointerleave", () => this.onHover(null));
    canvas.addEventListener("pointerup", (e) => {
      const at = from && Math.hypot(e.clientX - from[0], e.clientY - from[1]) < 5 ? this.under(e) : null;
      if (at) this.onTap(...at);
      from = null;
    });
    canvas.addEventListener("keydown", (e) => {
      const [az, el, zoom] = this.angles(), turn: Record<string, [number, number, number]> = {
        ArrowLeft: [az - 6, el, zoom], ArrowRight: [az + 6, el, zoom], ArrowUp: [az, el + 5, zoom], ArrowDown: [az, el - 5, zoom],
        "+": [az, el, zoom / 1.15], "=": [az, el, zoom / 1.15], "-": [az, el, zoom * 1.15],
      };
      const k = Number(e.key), to = turn[e.key] ?? (k >= 1 && k <= CAMERAS.length ? [CAMERAS[k - 1][1], CAMERAS[k - 1][2], zoom] : null);
      if (!to) return;
      e.preventDefault();
      e.stopPropagation();
      this.look(to as [number, number, number]);
      this.onCamera(this.angles());
    });
  }

  /** Azimuth, elevation in degrees, distance as a multiple of the usual one. */
  look([az, el, zoom]: readonly [number, number, number]): void {
    this.wanted = [az, el, zoom];
    if (!this.available) return;
    const a = (az * Math.PI) / 180, e = (Math.min(89.99, Math.max(0, el)) * Math.PI) / 180, d = 2.9 * zoom, t = this.controls.target;
    this.camera.position.set(t.x + d * Math.cos(e) * Math.cos(a), t.y + d * Math.cos(e) * Math.sin(a), t.z + d * Math.sin(e));
    this.controls.update();
    this.refresh();
  }

  angles(): [number, number, number] {
    const p = this.camera.position.clone().sub(this.controls.target), d = p.length();
    const round = (v: number): number => Math.round(v * 10) / 10;
    return [round((Math.atan2(p.y, p.x) * 180) / Math.PI), round((Math.asin(p.z / d) * 180) / Math.PI), Math.round((d / 2.9) * 100) / 100];
  }

  update(ground: Ground, shown: Shown): void {
    if (!this.available) return;
    const key = `${shown.dark}${shown.fog}${shown.contours}`;
    if (ground !== this.ground || key !== this.made) this.build(ground, shown);
    this.ground = ground;
    this.made = key;
    this.ribbons.update(shown, ground, (x, y) => this.place(x, y));
    this.put(this.ball, shown.start);
    this.put(this.pin, shown.cursor);
    (this.ball.material as MeshBasicMaterial).color.set(shown.dark ? 0xffffff : 0x111111);
    this.scatter(shown);
    this.refresh();
  }

  private scatter(shown: Shown): void {
    const dots = shown.fog ? shown.dots.slice(-400) : [];
    while (this.beads.length < dots.length) {
      const bead = new Mesh(this.pin.geometry, new MeshBasicMaterial({ transparent: true }));
      this.beads.push(bead);
      this.world.add(bead);
    }
    this.beads.forEach((bead, k) => {
      bead.visible = k < dots.length;
      if (!bead.visible) return;
      const material = bead.material as MeshBasicMaterial;
      material.color.set(dots[k].color);
      material.opacity = dots[k].fade;
      this.put(bead, [dots[k].x, dots[k].y]);
    });
  }

  private put(thing: Mesh, at: readonly [number, number] | null): void {
    const spot = at && this.place(at[0], at[1]);
    thing.visible = !!spot;
    if (spot) thing.position.copy(spot).setZ(spot.z + 0.01);
  }

  /** Where a point of the map stands on the relief; null outside the window. */
  place(x: number, y: number, lift = 0): Vector3 | null {
    const ground = this.ground;
    if (!ground) return null;
    const [x0, y0, x1, y1] = ground.window, { nx, ny } = ground.grid, fx = ((x - x0) / (x1 - x0)) * (nx - 1), fy = ((y - y0) / (y1 - y0)) * (ny - 1);
    if (!(fx >= 0 && fy >= 0 && fx <= nx - 1 && fy <= ny - 1)) return null;
    const i = Math.min(nx - 2, Math.floor(fx)), j = Math.min(ny - 2, Math.floor(fy)), a = fx - i, b = fy - j, u = ground.u, k = j * nx + i;
    const tall = (1 - b) * ((1 - a) * u[k] + a * u[k + 1]) + b * ((1 - a) * u[k + nx] + a * u[k + nx + 1]);
    return new Vector3(fx / (nx - 1) - 0.5, fy / (ny - 1) - 0.5, TALL * Math.min(1, Math.max(0, tall)) + lift);
  }

  private build(ground: Ground, shown: Shown): void {
    for (const old of [this.mesh, this.lines]) if (old) { this.world.remove(old); old.geometry.dispose(); }
    this.ground = ground;
    this.mesh = new Mesh(surface(ground, shown.dark, shown.fog), new MeshLambertMaterial({
      vertexColors: true, side: DoubleSide, polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1,
      transparent: shown.fog, opacity: shown.fog ? 0.16 : 1, depthWrite: !shown.fog,
    }));
    this.world.add(this.mesh);
    this.lines = null;
    if (shown.contours && !shown.fog) {
      const at: number[] = [];
      for (const level of ground.lines) for (const line of level.lines) for (let k = 2; k < line.length; k += 2) {
        const a = this.place(line[k - 2], line[k - 1], 0.002), b = this.place(line[k], line[k + 1], 0.002);
        if (a && b) at.push(a.x, a.y, a.z, b.x, b.y, b.z);
      }
      const geometry = new BufferGeometry().setAttribute("position", new BufferAttribute(new Float32Array(at), 3));
      this.lines = new LineSegments(geometry, new LineBasicMaterial({ color: shown.dark ? 0xffffff : 0x000000, transparent: true, opacity: 0.4 }));
      this.world.add(this.lines);
    }
  }

  /** The point of the map under the pointer, found by walking down the ray. */
  under(event: { clientX: number; clientY: number }): [number, number] | null {
    if (!this.available || !this.ground) return null;
    const box = this.renderer.domElement.getBoundingClientRect(), caster = new Raycaster();
    caster.setFromCamera(new Vector2(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2), this.camera);
    const { origin, direction } = caster.ray, [x0, y0, x1, y1] = this.ground.window;
    const spot = new Vector3();
    for (let s = 0, step = 0.006; s < 6; s += step) {
      spot.copy(direction).multiplyScalar(s).add(origin);
      if (spot.z > TALL + 0.01 || Math.abs(spot.x) > 0.5 || Math.abs(spot.y) > 0.5) continue;
      const x = x0 + (spot.x + 0.5) * (x1 - x0), y = y0 + (spot.y + 0.5) * (y1 - y0), there = this.place(x, y);
      if (there && spot.z <= there.z) return [x, y];
    }
    return null;
  }

  size(): void {
    if (!this.available) return;
    const wide = this.element.clientWidth, tall = this.element.clientHeight;
    if (!wide || !tall) return;
    this.renderer.setSize(wide, tall, false);
    this.camera.aspect = wide / tall;
    this.camera.updateProjectionMatrix();
    this.ribbons.size(wide, tall);
  }

  refresh(): void {
    if (!this.available || this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      if (this.available && this.ground && this.element.clientWidth) this.renderer.render(this.world, this.camera);
    });
  }

  /** A picture of what is seen now. */
  picture(factor: number): HTMLCanvasElement | null {
    if (!this.available || !this.ground) return null;
    const wide = this.element.clientWidth, tall = this.element.clientHeight, out = document.createElement("canvas"), before = this.renderer.getPixelRatio();
    this.renderer.setPixelRatio(factor);
    this.renderer.setSize(wide, tall, false);
    this.renderer.render(this.world, this.camera);
    out.width = this.renderer.domElement.width;
    out.height = this.renderer.domElement.height;
    out.getContext("2d")!.drawImage(this.renderer.domElement, 0, 0);
    this.renderer.setPixelRatio(before);
    this.size();
    this.refresh();
    return out;
  }
}
