#pragma once

/*
 * units writes numbers for people: one function per kind of number, each from integers, so that no
 * two places of an answer can disagree. The text is ASCII; the caller's buffer takes it.
 */

#include <stdbool.h>
#include <stdint.h>

#define UNITS_TEXT_BYTES 48

/* Text by value, so that several fit into one printf. */
struct units_text {
	char text[UNITS_TEXT_BYTES];
};

struct units_text units_count(uint64_t value); /* 2 966 400 */
struct units_text units_duration(uint64_t ns); /* 12.4 s */
struct units_text units_bytes(uint64_t bytes); /* 3.20 MiB */

/* In the unit of a profile type: "nanoseconds" and "bytes" are scaled, everything else is a count.
 */
struct units_text units_value(const char *unit, uint64_t value);

/* part / whole as "12.34 %"; "-" of nothing. */
struct units_text units_percent(uint64_t part, uint64_t whole);

/* cpu / wall with three digits: "41.2"; "-" when nothing was watched. */
struct units_text units_cores(uint64_t cpu_ns, uint64_t wall_ns);
struct units_text units_millicores(uint64_t cpu_ns, uint64_t wall_ns);

/*
 * B against A, 1 for nothing changed: "+25.0 %", "150x" from a hundred times on, and ">1000x", as
 * more digits of what was next to nothing would mean nothing.
 */
struct units_text units_change(double ratio);

/* 2025-03-01T10:00:00Z */
struct units_text units_time(uint64_t unix_ns);
