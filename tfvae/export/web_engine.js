"use strict";
// Runs a model's functions: steps that are TensorFlow's operations, over typed arrays.
// It knows no page, so that Node runs it too. `web_graph.py` makes its programs, and
// reads the names of the operations that it knows from the table below.
const Engine = (() => {
  const ARRAYS = {
    float32: Float32Array, float64: Float64Array, int32: Int32Array,
    int64: BigInt64Array, bool: Uint8Array, uint64: Uint32Array,
  };
  const count = (shape) => shape.reduce((a, b) => a * b, 1);
  const tensor = (dtype, shape, data) => (
    { dtype, shape, data: data || new ARRAYS[dtype](count(shape)) });

  // The steps from one element to the next along each axis.
  function dense(shape) {
    const strides = new Array(shape.length);
    for (let axis = shape.length - 1, n = 1; axis >= 0; axis--) {
      strides[axis] = n;
      n *= shape[axis];
    }
    return strides;
  }

  // The places offset + sum_j i_j strides_j of all indices i of a shape, in order.
  function places(shape, strides, offset = 0) {
    let found = Int32Array.of(offset);
    shape.forEach((size, axis) => {
      const next = new Int32Array(found.length * size);
      for (let i = 0, n = 0; i < found.length; i++)
        for (let j = 0; j < size; j++) next[n++] = found[i] + j * strides[axis];
      found = next;
    });
    return found;
  }

  // The places of a tensor's elements where it is spread over a larger shape.
  function spread(shape, to) {
    const strides = dense(shape), missing = to.length - shape.length;
    return places(to, to.map((_, axis) => {
      const own = axis - missing;
      return own < 0 || shape[own] === 1 ? 0 : strides[own];
    }));
  }

  const isSame = (a, b) => a.length === b.length && a.every((n, i) => n === b[i]);

  // What depends on shapes alone is found once for each step.
  function once(step, key, make) {
    step.known = step.known || {};
    return step.known[key] || (step.known[key] = make());
  }

  // An operation of single elements, whose operands are spread over the result.
  const each = (f) => (inputs, [y], step) => {
    const out = y.data, [a, b, c] = inputs.map((x) => x.data);
    const [i, j, k] = inputs.map((x, n) => isSame(x.shape, y.shape) ? null
      : once(step, n, () => spread(x.shape, y.shape)));
    if (inputs.length === 1) for (let n = 0; n < out.length; n++) out[n] = f(a[n]);
    else if (inputs.length === 2)
      for (let n = 0; n < out.length; n++) out[n] = f(a[i ? i[n] : n], b[j ? j[n] : n]);
    else
      for (let n = 0; n < out.length; n++)
        out[n] = f(a[i ? i[n] : n], b[j ? j[n] : n], c[k ? k[n] : n]);
  };

  const modulo = (axis, shape) => (Number(axis) + shape.length) % shape.length;

  const reduce = (start, f, end = (sum) => sum) => ([x, axes], [y], step) => {
    const to = once(step, "to", () => {
      const gone = new Set(Array.from(axes.data, (axis) => modulo(axis, x.shape)));
      const strides = dense(x.shape.map((size, axis) => gone.has(axis) ? 1 : size));
      return places(x.shape, strides.map((n, axis) => gone.has(axis) ? 0 : n));
    });
    const sums = new Float64Array(y.data.length).fill(start);
    for (let n = 0; n < to.length; n++) sums[to[n]] = f(sums[to[n]], Number(x.data[n]));
    for (let n = 0; n < sums.length; n++)
      y.data[n] = end(sums[n], to.length / sums.length);
  };

  // Operations of rows along the last axis.
  const rows = (f) => ([x], [y]) => {
    const size = x.shape[x.shape.length - 1];
    for (let at = 0; at < x.data.length; at += size)
      f(x.data.subarray(at, at + size), y.data.subarray(at, at + size));
  };

  function logSumExp(row) {
    const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
    return most + Math.log(row.reduce((sum, v) => sum + Math.exp(v - most), 0));
  }

  // c [m, n] = a [m, k] b [k, n], each read with its own strides.
  function product(a, b, c, [m, k, n], [am, ak], [bk, bn]) {
    const row = new Float64Array(n);
    for (let i = 0; i < m; i++) {
      row.fill(0);
      for (let l = 0; l < k; l++) {
        const left = a[i * am + l * ak];
        if (left !== 0) for (let j = 0, at = l * bk; j < n; j++, at += bn)
          row[j] += left * b[at];
      }
      c.set(row, i * n);
    }
  }

  function matmul([a, b], [c], step) {
    const { transpose_a, transpose_b, adj_x, adj_y } = step.attributes;
    const [ta, tb] = [transpose_a || adj_x, transpose_b || adj_y];
    const [ar, ac] = a.shape.slice(-2), [br, bc] = b.shape.slice(-2);
    const [m, k, n] = ta ? [ac, ar, tb ? br : bc] : [ar, ac, tb ? br : bc];
    const batch = c.shape.slice(0, -2);
    const starts = [a, b].map((x, i) => once(step, i, () =>
      spread(x.shape.slice(0, -2), batch)));
    for (let i = 0; i < count(batch); i++)
      product(a.data.subarray(starts[0][i] * ar * ac), b.data.subarray(starts[1][i] * br * bc),
        c.data.subarray(i * m * n), [m, k, n], ta ? [1, ac] : [ac, 1], tb ? [1, bc] : [bc, 1]);
  }

  // Calls f(place of the small image, place of the large, place in the filter) for each
  // pair of pixels that a convolution joins; the large image is the finer one.
  function pairs(large, small, filter, { strides, padding, dilations }, f) {
    const [[, H, W], [N, h, w], [kh, kw]] = [large, small, filter];
    const [, sy, sx] = strides, [, dy, dx] = dilations || [1, 1, 1];
    const before = (out, stride, k, d, size) => padding === "SAME"
      ? Math.floor(Math.max((out - 1) * stride + (k - 1) * d + 1 - size, 0) / 2) : 0;
    const top = before(h, sy, kh, dy, H), left = before(w, sx, kw, dx, W);
    for (let n = 0; n < N; n++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++)
      for (let ky = 0; ky < kh; ky++) {
        const Y = y * sy + ky * dy - top;
        if (Y >= 0 && Y < H) for (let kx = 0; kx < kw; kx++) {
          const X = x * sx + kx * dx - left;
          if (X >= 0 && X < W) f((n * h + y) * w + x, (n * H + Y) * W + X, ky * kw + kx);
        }
      }
  }

  function convolution([x, filter], [y], step) {
    const [, , ci, co] = filter.shape, sums = new Float64Array(y.data.length);
    pairs(x.shape, y.shape, filter.shape, step.attributes, (small, large, k) => {
      for (let i = 0; i < ci; i++) {
        const value = x.data[large * ci + i], at = (k * ci + i) * co;
        if (value !== 0) for (let o = 0; o < co; o++)
          sums[small * co + o] += value * filter.data[at + o];
      }
    });
    y.data.set(sums);
  }

  function transposedConvolution([, filter, x], [y], step) {
    const [, , ci, co] = filter.shape, sums = new Float64Array(y.data.length);
    pairs(y.shape, x.shape, filter.shape, step.attributes, (small, large, k) => {
      for (let i = 0; i < ci; i++) {
        let sum = 0;
        const at = (k * ci + i) * co, from = small * co;
        for (let o = 0; o < co; o++) sum += x.data[from + o] * filter.data[at + o];
        sums[large * ci + i] += sum;
      }
    });
    y.data.set(sums);
  }

  function join(inputs, y, axis, sizeOf) {
    const inner = count(y.shape.slice(axis + 1)), line = y.shape[axis] * inner;
    let start = 0;
    for (const x of inputs) {
      const width = sizeOf(x) * inner;
      for (let n = 0; n * width < x.data.length; n++)
        y.data.set(x.data.subarray(n * width, (n + 1) * width), n * line + start);
      start += width;
    }
  }

  function gather([x, index, axisOf], [y], { attributes: { batch_dims: shared } }) {
    const axis = modulo(axisOf.data[0], x.shape);
    const inner = count(x.shape.slice(axis + 1)), line = x.shape[axis] * inner;
    const width = count(index.shape.slice(shared)), each = count(x.shape.slice(shared, axis));
    let at = 0;
    for (let n = 0; n < x.data.length / line; n++) {
      const own = Math.floor(n / each) * width; // the indices of its batch
      for (const i of index.data.subarray(own, own + width)) {
        const from = n * line + Number(i) * inner;
        y.data.set(x.data.subarray(from, from + inner), at);
        at += inner;
      }
    }
  }

  function oneHot([index, depth, on, off], [y]) {
    const size = depth.data[0];
    y.data.fill(off.data[0]);
    index.data.forEach((value, n) => {
      const i = Number(value);
      if (i >= 0 && i < size) y.data[n * size + i] = on.data[0];
    });
  }

  function cumulate([x, axisOf], [y], { attributes: { exclusive, reverse } }) {
    const axis = modulo(axisOf.data[0], x.shape), size = x.shape[axis];
    const inner = count(x.shape.slice(axis + 1));
    for (let n = 0; n < x.data.length / size; n++) {
      const from = Math.floor(n / inner) * size * inner + n % inner;
      for (let i = 0, sum = 0; i < size; i++) {
        const at = from + (reverse ? size - 1 - i : i) * inner, before = sum;
        sum += x.data[at];
        y.data[at] = exclusive ? before : sum;
      }
    }
  }

  function argMax(x, y, axis) {
    const size = x.shape[axis], inner = count(x.shape.slice(axis + 1));
    for (let n = 0; n < y.data.length; n++) {
      const from = Math.floor(n / inner) * size * inner + n % inner;
      let best = 0;
      for (let i = 1; i < size; i++)
        if (x.data[from + i * inner] > x.data[from + best * inner]) best = i;
      y.data[n] = y.dtype === "int64" ? BigInt(best) : best;
    }
  }

  function cast([x], [y]) {
    for (let n = 0; n < y.data.length; n++) {
      const value = Number(x.data[n]);
      y.data[n] = y.dtype === "int64" ? BigInt(Math.trunc(value))
        : y.dtype === "bool" ? value !== 0 : y.dtype === "int32" ? Math.trunc(value) : value;
    }
  }

  // Philox 4x32 with ten rounds, "Parallel Random Numbers: As Easy as 1, 2, 3" (Salmon
  // et al., 2011), as TensorFlow's stateless draws on every device.
  function philox(counter, key) {
    let [c0, c1, c2, c3] = counter, [k0, k1] = key;
    const high = (a, b) => Number((BigInt(a) * BigInt(b)) >> 32n);
    for (let round = 0; round < 10; round++) {
      const [h0, l0] = [high(0xd2511f53, c0), Math.imul(0xd2511f53, c0) >>> 0];
      const [h1, l1] = [high(0xcd9e8d57, c2), Math.imul(0xcd9e8d57, c2) >>> 0];
      [c0, c1, c2, c3] = [(h1 ^ c1 ^ k0) >>> 0, l1, (h0 ^ c3 ^ k1) >>> 0, l0];
      k0 = (k0 + 0x9e3779b9) >>> 0;
      k1 = (k1 + 0xbb67ae85) >>> 0;
    }
    return [c0, c1, c2, c3];
  }

  const half = (word) => [Number(word & 0xffffffffn), Number((word >> 32n) & 0xffffffffn)];

  // TensorFlow mixes the two words of a seed into key and counter.
  function keyAndCounter([seed], [key, counter]) {
    const [first, second] = Array.from(seed.data, (word) => half(BigInt(word)));
    const mixed = philox([...first, ...second], [0x3ec8f720, 0x02461e29]);
    key.data = Uint32Array.of(mixed[0], mixed[1]);
    counter.data = Uint32Array.of(0, 0, mixed[2], mixed[3]);
  }

  function randomBits([, key, start], [y]) {
    const counter = Uint32Array.from(start.data), out = y.data;
    const wide = y.dtype === "int64";
    for (let n = 0; n < out.length;) {
      const words = philox(counter, key.data);
      for (let i = 0; i < 4 && n < out.length; i += wide ? 2 : 1)
        out[n++] = wide ? BigInt.asIntN(64, (BigInt(words[i + 1]) << 32n) | BigInt(words[i]))
          : words[i] | 0;
      for (let i = 0; i < 4 && ++counter[i] === 0; i++);
    }
  }

  function loop(inputs, outputs, { attributes: { cond, body } }) {
    let state = inputs;
    while (run(cond, state)[0].data[0]) state = run(body, state);
    outputs.forEach((y, i) => { y.data = state[i].data; });
  }

  const sigmoid = (x) => x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

  // By its series, and beyond 3 by the continued fraction of its complement.
  function erf(x) {
    const t = Math.abs(x);
    if (t > 6) return Math.sign(x);
    if (t > 3) {
      let f = t;
      for (let n = 60; n > 0; n--) f = t + n / 2 / f;
      return Math.sign(x) * (1 - Math.exp(-t * t) / f / Math.sqrt(Math.PI));
    }
    let sum = x, term = x;
    for (let n = 1; n < 80; n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return sum * 2 / Math.sqrt(Math.PI);
  }

  function nearest(x) { // half to even
    const low = Math.floor(x), rest = x - low;
    return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
  }

  // -- the operations, one a line --------------------------------------------------
  const OPERATIONS = {
    Abs: each(Math.abs),
    Atan: each(Math.atan),
    Ceil: each(Math.ceil),
    Cos: each(Math.cos),
    Cosh: each(Math.cosh),
    Elu: each((x) => x > 0 ? x : Math.expm1(x)),
    Erf: each(erf),
    Exp: each(Math.exp),
    Expm1: each(Math.expm1),
    Floor: each(Math.floor),
    IsFinite: each(Number.isFinite),
    IsNan: each(Number.isNaN),
    Log: each(Math.log),
    Log1p: each(Math.log1p),
    LogicalNot: each((x) => !x),
    Neg: each((x) => -x),
    Reciprocal: each((x) => 1 / x),
    Relu: each((x) => x < 0 ? 0 : x),
    Relu6: each((x) => Math.min(Math.max(x, 0), 6)),
    Rint: each(nearest),
    Round: each(nearest),
    Rsqrt: each((x) => 1 / Math.sqrt(x)),
    Selu: each((x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x))),
    Sigmoid: each(sigmoid),
    Sign: each(Math.sign),
    Sin: each(Math.sin),
    Sinh: each(Math.sinh),
    Softplus: each(softplus),
    Softsign: each((x) => x / (1 + Math.abs(x))),
    Sqrt: each(Math.sqrt),
    Square: each((x) => x * x),
    Tan: each(Math.tan),
    Tanh: each(Math.tanh),
    LeakyRelu: (inputs, outputs, step) =>
      each((x) => x > 0 ? x : step.attributes.alpha * x)(inputs, outputs, step),
    Add: each((a, b) => a + b),
    AddV2: each((a, b) => a + b),
    BiasAdd: each((a, b) => a + b),
    BitwiseAnd: each((a, b) => a & b),
    Equal: each((a, b) => a === b),
    Greater: each((a, b) => a > b),
    GreaterEqual: each((a, b) => a >= b),
    Less: each((a, b) => a < b),
    LessEqual: each((a, b) => a <= b),
    LogicalAnd: each((a, b) => a & b),
    LogicalOr: each((a, b) => a | b),
    Maximum: each((a, b) => a > b || a !== a ? a : b),
    Minimum: each((a, b) => a < b || a !== a ? a : b),
    Mul: each((a, b) => a * b),
    NotEqual: each((a, b) => a !== b),
    Pow: each(Math.pow),
    RealDiv: each((a, b) => a / b),
    SquaredDifference: each((a, b) => (a - b) * (a - b)),
    Sub: each((a, b) => a - b),
    ClipByValue: each((x, low, high) => x < low ? low : x > high ? high : x),
    SelectV2: each((which, a, b) => which ? a : b),
    Max: reduce(-Infinity, Math.max),
    Mean: reduce(0, (a, b) => a + b, (sum, n) => sum / n),
    Min: reduce(Infinity, Math.min),
    Prod: reduce(1, (a, b) => a * b),
    Sum: reduce(0, (a, b) => a + b),
    LogSoftmax: rows((x, y) => { const all = logSumExp(x); x.forEach((v, i) => { y[i] = v - all; }); }),
    Softmax: rows((x, y) => { const all = logSumExp(x); x.forEach((v, i) => { y[i] = Math.exp(v - all); }); }),
    ArgMax: ([x, axis], [y], step) => argMax(x, y, modulo(axis.data[0], x.shape)),
    BatchMatMulV2: matmul,
    Cast: cast,
    ConcatV2: (inputs, [y]) => {
      const axis = modulo(inputs[inputs.length - 1].data[0], y.shape);
      join(inputs.slice(0, -1), y, axis, (x) => x.shape[axis]);
    },
    Conv2D: convolution,
    Conv2DBackpropInput: transposedConvolution,
    Cumsum: cumulate,
    GatherV2: gather,
    MatMul: matmul,
    OneHot: oneHot,
    Pack: (inputs, [y], step) => join(inputs, y, modulo(step.attributes.axis, y.shape), () => 1),
    StatelessRandomGetKeyCounter: keyAndCounter,
    StatelessRandomUniformFullIntV2: randomBits,
    StatelessWhile: loop,
    While: loop,
    // These three stand for every operation that only moves elements.
    _Reshape: ([x], [y]) => { y.data = x.data; },
    _Take: ([x, index], [y]) => { for (let n = 0; n < y.data.length; n++) y.data[n] = x.data[index.data[n]]; },
    _View: ([x], [y], step) => {
      const { strides, offset } = step.attributes;
      const from = once(step, "from", () => places(y.shape, strides, offset));
      for (let n = 0; n < from.length; n++) y.data[n] = x.data[from[n]];
    },
  };

  // The tensors that a program gives for others, in the order of its inputs.
  function run(program, inputs) {
    const values = new Map(program.constants);
    program.inputs.forEach((id, i) => values.set(id, inputs[i]));
    for (const step of program.steps) {
      const outputs = step.outputs.map((id) => tensor(...program.tensors[id]));
      OPERATIONS[step.operation](step.inputs.map((id) => values.get(id)), outputs, step);
      step.outputs.forEach((id, i) => values.set(id, outputs[i]));
    }
    return program.outputs.map((id, i) => values.get(id));
  }

  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, digits = bits & 1023;
    if (exponent === 31) return digits ? NaN : sign * Infinity;
    return exponent ? sign * 2 ** (exponent - 15) * (1 + digits / 1024)
      : sign * 2 ** -14 * digits / 1024;
  }

  // An array that is stored in the bytes of a page.
  function stored(bytes, { at, size, kind, dtype, shape }) {
    const part = bytes.slice(at, at + size).buffer;
    const data = kind === "float16"
      ? Float32Array.from(new Uint16Array(part), fromHalf) : new ARRAYS[kind](part);
    return tensor(dtype, shape, data);
  }

  // Puts the constants into a program, and into those within it.
  function load(program, bytes) {
    program.constants = program.constants.map(([id, where]) => [id, stored(bytes, where)]);
    for (const { attributes } of program.steps)
      for (const part of [attributes.cond, attributes.body]) if (part) load(part, bytes);
    return program;
  }

  // Largest difference of two arrays, relative where they are above one.
  function difference(found, wanted) {
    let most = found.length === wanted.length ? 0 : Infinity;
    for (let n = 0; n < found.length; n++) {
      const gap = Math.abs(found[n] - wanted[n]) / Math.max(1, Math.abs(wanted[n]));
      if (!(gap <= most)) most = Number.isNaN(gap) ? Infinity : gap;
    }
    return most;
  }

  // A page's model: `decode` and `sample`, and the answers that TensorFlow recorded.
  function open(model, bytes) {
    const decoder = load(model.decode, bytes), sampler = load(model.sample, bytes);
    const given = (program, arrays) => arrays.map((array, i) => {
      const [dtype, shape] = program.tensors[program.inputs[i]];
      const make = dtype === "int64" ? BigInt : Number;
      return tensor(dtype, shape, ARRAYS[dtype].from(array, make));
    });
    const decode = (z, conditions) =>
      run(decoder, given(decoder, [z, ...conditions]))[0].data;
    const sample = (seed, conditions) => {
      const words = [seed % 2 ** 31, Math.floor(seed / 2 ** 31)];
      const all = run(sampler, given(sampler, [words, ...conditions]))[0];
      const size = all.data.length / all.shape[0];
      return Array.from({ length: all.shape[0] }, (_, i) => all.data.slice(i * size, (i + 1) * size));
    };
    const array = (where) => stored(bytes, where).data;
    const check = () => Math.max(
      ...model.checks.decoded.map(({ z, conditions, mean }) =>
        difference(decode(array(z), conditions.map(array)), array(mean))),
      ...model.checks.drawn.map(({ seed, conditions, z }) =>
        difference([].concat(...sample(seed, conditions.map(array)).map((row) => [...row])), array(z))),
    );
    return { decode, sample, check };
  }

  return { open, run, load, difference };
})();
if (typeof module !== "undefined") module.exports = Engine;
