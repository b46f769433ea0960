/* student.c: see student.h. The two tails together are the regularized incomplete beta function I_x(v/2, 1/2) at
 * x = v / (v + t^2) (Abramowitz and Stegun 26.7.1), which is computed by its continued fraction (26.5.8, evaluated by
 * Lentz's method). */
#include "daemon/student.h"

#include <float.h>
#include <math.h>

enum { FRACTION_TERMS = 20000, STEPS = 2000 };

/* Converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = DBL_MIN / DBL_EPSILON;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= FRACTION_TERMS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        for (int k = 0; k < 2; k++) {
            double term = k ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            h *= c * d;
        }
        if (fabs(c * d - 1) < DBL_EPSILON)
            break;
    }
    return h;
}

/* I_x(a, b), with y = 1 - x given apart so that neither end loses digits. */
static double beta_regularized(double x, double y, double a, double b)
{
    if (x <= 0)
        return 0;
    if (y <= 0)
        return 1;
    int sign; /* lgamma itself writes a global */
    double front = exp(lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) + a * log(x) + b * log(y));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(x, a, b) / a : 1 - front * beta_fraction(y, b, a) / b;
}

double student_two_sided(double t, double freedom)
{
    if (isnan(t) || !(freedom > 0))
        return NAN;
    if (isinf(t))
        return 0;
    double square = t * t / freedom; /* the tails' x is 1 / (1 + square) */
    return beta_regularized(1 / (1 + square), square / (1 + square), freedom / 2, 0.5);
}

static double density(double t, double freedom)
{
    int sign;
    return exp(lgamma_r((freedom + 1) / 2, &sign) - lgamma_r(freedom / 2, &sign) -
               (freedom + 1) / 2 * log1p(t * t / freedom)) /
           sqrt(freedom * acos(-1));
}

/* two_sided falls from 1 to 0 as t grows; it is convex there, so Newton's steps from a t that is too small never go too
 * far, but a bracket is kept for the last digits. */
double student_critical(double chance, double freedom)
{
    if (!(chance > 0 && chance < 1) || !(freedom > 0))
        return NAN;
    double low = 0, high = INFINITY, t = 0;
    for (int i = 0; i < STEPS; i++) {
        double above = student_two_sided(t, freedom) - chance;
        if (above > 0)
            low = t;
        else
            high = t;
        double next = t + above / (2 * density(t, freedom));
        if (!(next > low && next < high))
            next = isinf(high) ? 2 * low + 1 : low + (high - low) / 2;
        if (fabs(next - t) <= 4 * DBL_EPSILON * next || next == low || next == high)
            return next;
        t = next;
    }
    return t;
}
