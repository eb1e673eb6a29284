;; The five workloads in WebAssembly. Each is exported under its name and gives an i32; what the sieve marked is in
;; the global "marks". All loops test at their end, so every parameter is at least 1, and the sieve's n at least 5.
(module
  (memory 1024) ;; 64 MiB
  (global $marks (export "marks") (mut i32) (i32.const 0))

  (func (export "count") (param $n i32) (result i32) (local $i i32)
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.ne (local.get $i) (local.get $n))))
    (local.get $i))

  (func (export "lcg") (param $outer i32) (param $inner i32) (result i32)
    (local $x i32) (local $sum i32) (local $o i32) (local $i i32)
    (local.set $x (i32.const 42))
    (loop $outward
      (local.set $i (i32.const 0))
      (loop $inward
        (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 69069)) (i32.const 12345)))
        (local.set $sum
          (i32.add
            (i32.shl
              (i32.xor (local.get $sum)
                (i32.and (i32.shr_s (local.get $x) (i32.const 16)) (i32.const 0x7fff)))
              (i32.const 1))
            (local.get $x)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $inward (i32.ne (local.get $i) (local.get $inner))))
      (local.set $o (i32.add (local.get $o) (i32.const 1)))
      (br_if $outward (i32.ne (local.get $o) (local.get $outer))))
    (local.get $sum))

  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_s (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2)))))))

  (func (export "mandelbrot") (param $width i32) (param $height i32) (param $limit i32) (result i32)
    (local $total i32) (local $line i32) (local $column i32) (local $steps i32)
    (local $across f64) (local $down f64) (local $cr f64) (local $ci f64)
    (local $zr f64) (local $zi f64) (local $rr f64) (local $ii f64)
    (local.set $across (f64.div (f64.const 3) (f64.convert_i32_s (local.get $width))))
    (local.set $down (f64.div (f64.const 3) (f64.convert_i32_s (local.get $height))))
    (local.set $ci (f64.const -1.5))
    (loop $lines
      (local.set $cr (f64.const -2))
      (local.set $column (i32.const 0))
      (loop $columns
        (local.set $zr (f64.const 0))
        (local.set $zi (f64.const 0))
        (local.set $steps (i32.const 0))
        (block $away
          (loop $step
            (local.set $rr (f64.mul (local.get $zr) (local.get $zr)))
            (local.set $ii (f64.mul (local.get $zi) (local.get $zi)))
            (br_if $away (f64.gt (f64.add (local.get $rr) (local.get $ii)) (f64.const 4)))
            (local.set $zi (f64.mul (local.get $zr) (local.get $zi)))
            (local.set $zi (f64.add (f64.add (local.get $zi) (local.get $zi)) (local.get $ci)))
            (local.set $zr (f64.add (f64.sub (local.get $rr) (local.get $ii)) (local.get $cr)))
            (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
            (br_if $step (i32.ne (local.get $steps) (local.get $limit)))))
        (local.set $total (i32.add (local.get $total) (local.get $steps)))
        (local.set $cr (f64.add (local.get $cr) (local.get $across)))
        (local.set $column (i32.add (local.get $column) (i32.const 1)))
        (br_if $columns (i32.ne (local.get $column) (local.get $width))))
      (local.set $ci (f64.add (local.get $ci) (local.get $down)))
      (local.set $line (i32.add (local.get $line) (i32.const 1)))
      (br_if $lines (i32.ne (local.get $line) (local.get $height))))
    (local.get $total))

  (func (export "sieve") (param $n i32) (param $rounds i32) (result i32)
    (local $round i32) (local $i i32) (local $j i32) (local $primes i32) (local $made i32)
    (loop $again
      (local.set $i (i32.const 0))
      (loop $clear
        (i32.store (i32.shl (local.get $i) (i32.const 2)) (i32.const 0))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $clear (i32.lt_s (local.get $i) (local.get $n))))
      (local.set $i (i32.const 2))
      (loop $number
        (if (i32.eqz (i32.load (i32.shl (local.get $i) (i32.const 2))))
          (then
            (local.set $j (i32.mul (local.get $i) (local.get $i)))
            (loop $mark
              (i32.store (i32.shl (local.get $j) (i32.const 2)) (i32.const 1))
              (local.set $made (i32.add (local.get $made) (i32.const 1)))
              (local.set $j (i32.add (local.get $j) (local.get $i)))
              (br_if $mark (i32.lt_s (local.get $j) (local.get $n))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $number (i32.lt_s (i32.mul (local.get $i) (local.get $i)) (local.get $n))))
      (local.set $primes (i32.const 0))
      (local.set $i (i32.const 2))
      (loop $count
        (local.set $primes
          (i32.add (local.get $primes) (i32.eqz (i32.load (i32.shl (local.get $i) (i32.const 2))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $count (i32.lt_s (local.get $i) (local.get $n))))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $again (i32.lt_s (local.get $round) (local.get $rounds))))
    (global.set $marks (local.get $made))
    (local.get $primes))
)
