#pragma once

/*
 * say is how bench.store speaks and what it looks at: a figure is a line `name<TAB>value`, once for
 * each run, which bench/run gathers; clocks, and what the process had written, beside it.
 *
 * A measurement that cannot go on ends the program: there is nothing to save.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY_OR_DIE(call)                                                                           \
	do {                                                                                       \
		int r_ = (call);                                                                   \
		if (r_ < 0) {                                                                      \
			fprintf(stderr, "bench.store: %s: %s\n", #call, strerror(-r_));            \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

void say(const char *name, double value);
/* The same for a name of two parts: `what`_`name`. */
void say_of(const char *what, const char *name, double value);

/*
 * From now on, until the next one, the program does what is called so: a line of three columns, the
 * last of them unix nanoseconds, by which a profile of that time is found. "-": nothing of
 * interest.
 */
void say_phase(const char *what);

/* Never NULL. */
void *say_alloc(size_t count, size_t each);
/* The array with room for `count`, doubled until it fits; what is new is zero. */
void *say_grow(void *array, uint32_t *capacity, uint64_t count, size_t each);

double say_wall_s(void);
double say_process_cpu_s(void);
double say_thread_cpu_s(void);

/* Of this process: what the kernel will write or has written to disks, and what it was given. */
struct say_written {
	uint64_t disk;  /* write_bytes: pages that were made dirty, as often as they were */
	uint64_t calls; /* wchar: bytes of write() */
};
struct say_written say_written(void);

uint64_t say_rss_bytes(void);

/* Files of the folder leave the page cache. */
void say_evict(const char *folder);
uint64_t say_folder_bytes(const char *folder);
