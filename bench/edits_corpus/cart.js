'use strict';

const TAX = { at: 0.2, de: 0.19, ch: 0.081 };

/** Items somebody wants to buy. */
class Cart {
  constructor(country = 'at') {
    this.country = country;
    this.items = new Map();
    this.listeners = [];
  }

  add(name, price, count = 1) {
    if (price < 0) {
      throw new RangeError(`price of ${name} is negative`);
    }
    const known = this.items.get(name);
    if (known) {
      known.count += count;
    } else {
      this.items.set(name, { price, count });
    }
    this.changed('add', name);
  }

  remove(name, count = 1) {
    const known = this.items.get(name);
    if (!known) {
      return false;
    }
    known.count -= count;
    if (known.count <= 0) {
      this.items.delete(name);
    }
    this.changed('remove', name);
    return true;
  }

  get net() {
    let sum = 0;
    for (const { price, count } of this.items.values()) {
      sum += price * count;
    }
    return sum;
  }

  get gross() {
    return this.net * (1 + (TAX[this.country] ?? 0));
  }

  on(listener) {
    this.listeners.push(listener);
    return () => {
      this.listeners = this.listeners.filter((each) => each !== listener);
    };
  }

  changed(what, name) {
    for (const listener of this.listeners) {
      listener({ what, name, cart: this });
    }
  }

  async checkout(pay) {
    if (this.items.size === 0) {
      return { ok: false, why: 'nothing in it' };
    }
    try {
      const receipt = await pay(Math.round(this.gross * 100));
      this.items.clear();
      this.changed('checkout', '');
      return { ok: true, receipt };
    } catch (error) {
      return { ok: false, why: String(error) };
    }
  }
}

module.exports = { Cart, TAX };
