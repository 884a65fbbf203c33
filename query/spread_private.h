#pragma once

/* Student's t, of spread.c: for it and spread_many.c. */

/* Two-sided. */
double student_p(double t, double degrees);
/* The t whose two-sided p is this. */
double student_t(double p, double degrees);

/* Of a normal distribution: 80 % below it. */
#define SPREAD_POWER_80 0.8416212335729143
