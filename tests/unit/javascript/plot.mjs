// Stands for the library that draws charts: keeps what it is given, for a test to look at.

export default class Plot {
  static paths = { bars: () => null };

  constructor(options, data) {
    Plot.last = this;
    Object.assign(this, { options, data });
  }

  setData(data) {
    this.data = data;
  }

  destroy() {
    this.isDestroyed = true;
  }

  /** Puts the cursor over a column; null if it leaves the chart. */
  point(index) {
    for (const heard of this.options.hooks.setCursor) heard({ cursor: { idx: index } });
  }
}
