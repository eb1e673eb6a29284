// The five workloads in JavaScript. Usage: node bodies.js WORKLOAD PARAMETER...
// Prints the seconds of processor time that the work took, and its result.
"use strict";

function count(n) {
  let i = 0;
  do i = (i + 1) | 0; while (i !== n);
  return [i];
}

function lcg(outer, inner) {
  let x = 42, sum = 0;
  for (let o = 0; o !== outer; o++) {
    for (let i = 0; i !== inner; i++) {
      x = (Math.imul(x, 69069) + 12345) | 0;
      sum = (((sum ^ ((x >> 16) & 0x7fff)) << 1) + x) | 0;
    }
  }
  return [sum];
}

const recurse = (n) => (n < 2 ? n : recurse(n - 1) + recurse(n - 2));
const fib = (n) => [recurse(n)];

function mandelbrot(width, height, limit) {
  const across = 3.0 / width, down = 3.0 / height;
  let total = 0, ci = -1.5;
  for (let line = 0; line !== height; line++) {
    let cr = -2.0;
    for (let column = 0; column !== width; column++) {
      let zr = 0.0, zi = 0.0, steps = 0;
      while (steps !== limit) {
        const rr = zr * zr, ii = zi * zi;
        if (rr + ii > 4.0) break;
        zi = zr * zi;
        zi = zi + zi + ci;
        zr = rr - ii + cr;
        steps++;
      }
      total += steps;
      cr += across;
    }
    ci += down;
  }
  return [total];
}

function sieve(n, rounds) {
  const cells = new Int32Array(n);
  let primes = 0, marks = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < n; i++) cells[i] = 0;
    for (let i = 2; i * i < n; i++) {
      if (cells[i] === 0) {
        for (let j = i * i; j < n; j += i) { cells[j] = 1; marks++; }
      }
    }
    primes = 0;
    for (let i = 2; i < n; i++) if (cells[i] === 0) primes++;
  }
  return [primes, marks];
}

// Microseconds: of this thread where Node can tell, else of all, with its compiler's.
const used = (since) => (process.threadCpuUsage ?? process.cpuUsage).call(process, since);

const [name, ...words] = process.argv.slice(2);
const work = { count, lcg, fib, mandelbrot, sieve }[name];
const parameters = words.map(Number);
const start = used();
const result = work(...parameters);
const took = used(start);
console.log(((took.user + took.system) * 1e-6).toFixed(9), ...result);
