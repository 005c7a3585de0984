// Pictures whose decoding has begun: one <img> an item, so that showing it is only an insertion.

import { picture } from "./api.js";

export class Decoded {
  constructor() {
    this.images = new Map();
  }

  of(item) {
    let image = this.images.get(item.suggestion_id);
    if (!image) {
      image = new Image();
      image.src = picture(item.image_id, 512);
      image.alt = "The image to judge";
      image.decode().catch(() => {});
      this.images.set(item.suggestion_id, image);
    }
    return image;
  }

  // Decodes these ahead and forgets all but the latest `most`.
  ahead(items, most) {
    for (const item of items) this.of(item);
    for (const id of [...this.images.keys()].slice(0, -most)) this.images.delete(id);
  }
}
