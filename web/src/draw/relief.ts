/** The relief: the page's one WebGL picture. It shows the map's ground, levels, paths, start and cursor, and draws only when something changed. */

import { DirectionalLight, HemisphereLight, type LineSegments, Mesh, PerspectiveCamera, Scene as World, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { h } from "../core/dom";
import { Beads } from "./beads";
import type { Ground } from "./ground";
import { ground3d, lifted, stand } from "./solid";
import { Ribbons } from "./ribbons";
import { anglesOf, isAbove, met, put, steer } from "./steer";
import { SENTENCE, type Shown } from "./shown";

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
  private readonly beads = new Beads();
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
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.refuse();
    });
    this.camera.up.set(0, 0, 1);
    this.controls = new OrbitControls(this.camera, canvas);
    // A finger moves the page up and down, and turns the relief sideways.
    canvas.style.touchAction = "pan-y";
    this.controls.enablePan = false;
    this.controls.enableDamping = false;
    this.controls.minDistance = 0.6;
    this.controls.maxDistance = 6;
    this.controls.maxPolarAngle = Math.PI / 2;
    this.controls.target.set(0, 0, 0.2);
    this.controls.addEventListener("change", () => {
      // A turn out of the view from above goes on with the usual camera.
      const [az, el, zoom] = this.angles();
      if (isAbove(this.camera) && el < 89.5) this.look([az, el, zoom]);
      this.refresh();
    });
    this.controls.addEventListener("end", () => this.onCamera(this.angles()));
    const sun = new DirectionalLight(0xffffff, 1.7);
    sun.position.set(-1.2, -0.8, 2.2);
    this.world.add(new HemisphereLight(0xffffff, 0x777788, 1.6), sun, this.beads.group, this.ribbons.group);
    steer(canvas, this);
    new ResizeObserver(() => {
      this.size();
      this.refresh();
    }).observe(this.element);
    this.look(this.wanted);
  }

  private refuse(): void {
    this.available = false;
    this.element.replaceChildren(h("p", { class: "sentence" }, SENTENCE));
  }

  /** Azimuth, elevation in degrees, distance as a multiple of the usual one. */
  look([az, el, zoom]: readonly [number, number, number]): void {
    this.wanted = [az, el, zoom];
    if (!this.available) return;
    this.controls.maxDistance = el >= 89 ? Infinity : 6;
    put(this.camera, this.controls.target, this.wanted);
    this.controls.update();
    this.refresh();
  }

  angles(): [number, number, number] {
    return anglesOf(this.camera, this.controls.target);
  }

  update(ground: Ground, shown: Shown): void {
    if (!this.available) return;
    const key = `${shown.dark}${shown.fog}${shown.contours}`;
    if (ground !== this.ground || key !== this.made) this.build(ground, shown);
    this.ground = ground;
    this.made = key;
    this.ribbons.update(shown, ground, (x, y) => stand(ground, x, y));
    this.beads.update(ground, shown);
    this.refresh();
  }

  private build(ground: Ground, shown: Shown): void {
    for (const old of [this.mesh, this.lines])
      if (old) {
        this.world.remove(old);
        old.geometry.dispose();
      }
    this.ground = ground;
    this.mesh = ground3d(ground, shown);
    this.world.add(this.mesh);
    this.lines = shown.contours && !shown.fog ? lifted(ground, shown.dark) : null;
    if (this.lines) this.world.add(this.lines);
  }

  /** The point of the map under the pointer. */
  under(event: { clientX: number; clientY: number }): [number, number] | null {
    if (!this.available || !this.ground) return null;
    return met(event, this.renderer.domElement, this.camera, this.ground);
  }

  size(): void {
    if (!this.available) return;
    const wide = this.element.clientWidth,
      tall = this.element.clientHeight;
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
    const wide = this.element.clientWidth,
      tall = this.element.clientHeight,
      out = document.createElement("canvas"),
      before = this.renderer.getPixelRatio();
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
