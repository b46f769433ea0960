/* student.h: Student's t distribution, for intervals over a few seeds. Pure.
 *
 * Both are good to nine digits for 1 to 1e6 degrees of freedom; checked against published tables and SciPy in
 * tests/unit/daemon/test_student.c. */
#ifndef BAKA_DAEMON_STUDENT_H
#define BAKA_DAEMON_STUDENT_H

/* The chance of a value at least as far from 0 as t, on both sides. NaN for a t that is NaN; 0 for an infinite one. */
double student_two_sided(double t, double freedom);
/* The t of which two_sided is `chance`, 0 < chance < 1: student_critical(0.05, n - 1) makes an interval of 95 %. */
double student_critical(double chance, double freedom);

#endif
