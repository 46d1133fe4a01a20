/** Small balls on the relief: the start, the cursor, and in the fog everything that was evaluated. */

import { Group, Mesh, MeshBasicMaterial, SphereGeometry } from "three";
import type { Ground } from "./ground";
import type { Shown } from "./shown";
import { stand } from "./solid";

const MOST = 400;

export class Beads {
  readonly group = new Group();
  private readonly ball = new Mesh(new SphereGeometry(0.014, 16, 12), new MeshBasicMaterial());
  private readonly pin = new Mesh(new SphereGeometry(0.011, 16, 12), new MeshBasicMaterial({ color: 0xd6008f }));
  private readonly dots: Mesh[] = [];

  constructor() {
    this.group.add(this.ball, this.pin);
  }

  update(ground: Ground, shown: Shown): void {
    put(ground, this.ball, shown.start);
    put(ground, this.pin, shown.cursor);
    (this.ball.material as MeshBasicMaterial).color.set(shown.dark ? 0xffffff : 0x111111);
    const found = shown.fog ? shown.dots.slice(-MOST) : [];
    while (this.dots.length < found.length) {
      const dot = new Mesh(this.pin.geometry, new MeshBasicMaterial({ transparent: true }));
      this.dots.push(dot);
      this.group.add(dot);
    }
    this.dots.forEach((dot, k) => {
      const one = found[k];
      dot.visible = one !== undefined;
      if (!one) return;
      const material = dot.material as MeshBasicMaterial;
      material.color.set(one.color);
      material.opacity = one.fade;
      put(ground, dot, [one.x, one.y]);
    });
  }
}

function put(ground: Ground, thing: Mesh, at: readonly [number, number] | null): void {
  const spot = at && stand(ground, at[0], at[1]);
  thing.visible = spot !== null;
  if (spot) thing.position.copy(spot).setZ(spot.z + 0.01);
}
