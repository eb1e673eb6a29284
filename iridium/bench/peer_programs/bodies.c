/* The five workloads in C. Usage: bodies WORKLOAD PARAMETER...
 * Prints the seconds of processor time that the work took, and its result.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define APART __attribute__((noinline)) /* so that no work is folded into its caller */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

APART static int32_t count(int32_t n)
{
    int32_t i = 0;
    do {
        i++;
        __asm__ volatile("" : "+r"(i)); /* costs nothing, and keeps the loop from becoming i = n */
    } while (i != n);
    return i;
}

APART static int32_t lcg(int32_t outer, int32_t inner)
{
    uint32_t x = 42, sum = 0;
    for (int32_t o = 0; o != outer; o++)
        for (int32_t i = 0; i != inner; i++) {
            x = x * 69069u + 12345u;
            sum = ((sum ^ ((x >> 16) & 0x7fff)) << 1) + x;
        }
    return (int32_t)sum;
}

APART static int32_t fib(int32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

APART static int64_t mandelbrot(int32_t width, int32_t height, int32_t limit)
{
    double across = 3.0 / width, down = 3.0 / height, ci = -1.5;
    int64_t total = 0;
    for (int32_t line = 0; line != height; line++, ci += down) {
        double cr = -2.0;
        for (int32_t column = 0; column != width; column++, cr += across) {
            double zr = 0, zi = 0;
            int32_t steps = 0;
            while (steps != limit) {
                double rr = zr * zr, ii = zi * zi;
                if (rr + ii > 4.0)
                    break;
                zi = zr * zi;
                zi = zi + zi + ci;
                zr = rr - ii + cr;
                steps++;
            }
            total += steps;
        }
    }
    return total;
}

APART static int32_t sieve(int32_t *cells, int32_t n, int32_t rounds, int64_t *marks)
{
    int32_t primes = 0;
    int64_t made = 0;
    for (int32_t round = 0; round < rounds; round++) {
        for (int32_t i = 0; i < n; i++)
            cells[i] = 0;
        for (int32_t i = 2; (int64_t)i * i < n; i++)
            if (cells[i] == 0)
                for (int32_t j = i * i; j < n; j += i) {
                    cells[j] = 1;
                    made++;
                }
        primes = 0;
        for (int32_t i = 2; i < n; i++)
            if (cells[i] == 0)
                primes++;
    }
    *marks = made;
    return primes;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *work = argv[1];
    int32_t a = atoi(argv[2]), b = argc > 3 ? atoi(argv[3]) : 0, c = argc > 4 ? atoi(argv[4]) : 0;
    int64_t result, marks = -1;
    int32_t *cells = NULL;
    if (!strcmp(work, "sieve")) {
        cells = malloc(sizeof *cells * a);
        if (!cells)
            return 1;
        memset(cells, 1, sizeof *cells * a); /* the pages are there before the clock starts */
    }
    double start = seconds();
    if (!strcmp(work, "count"))
        result = count(a);
    else if (!strcmp(work, "lcg"))
        result = lcg(a, b);
    else if (!strcmp(work, "fib"))
        result = fib(a);
    else if (!strcmp(work, "mandelbrot"))
        result = mandelbrot(a, b, c);
    else if (cells)
        result = sieve(cells, a, b, &marks);
    else
        return 2;
    double took = seconds() - start;
    printf("%.9f %lld", took, (long long)result);
    if (marks >= 0)
        printf(" %lld", (long long)marks);
    puts("");
    return 0;
}
